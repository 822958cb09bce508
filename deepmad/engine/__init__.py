"""Which network to build: entropy, budgets, the problem and its solvers."""
