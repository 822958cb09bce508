"""Black-box limits: what a function of the user says of a network, called in worker processes, each network once."""
