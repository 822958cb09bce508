"""Valid inputs of every kind, each changed in one place, and what the command line makes of them."""
