"""The solvers, one room each. `design` chooses between them; a solver sees only those on lower floors."""
