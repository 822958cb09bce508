"""The solvers, one room each. Only design.py and the verbs above it choose between them."""
