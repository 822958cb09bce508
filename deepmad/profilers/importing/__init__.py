"""Tables from files that other tools wrote. For the command line."""
