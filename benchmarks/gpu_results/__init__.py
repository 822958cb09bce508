"""Everything that is published about a GPU, by one command that may be cut off and goes on: `make gpu-results`."""
