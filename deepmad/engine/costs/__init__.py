"""What every choice of a stage costs, read from the layer records once, for all solvers."""
