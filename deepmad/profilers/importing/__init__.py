"""Tables from files that other tools wrote."""
