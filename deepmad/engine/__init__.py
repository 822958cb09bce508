"""Which network to build. The verbs stand here; program, answers and solvers are the rooms below them."""
