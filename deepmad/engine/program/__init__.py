"""The mathematical program: space, limits, objective. It knows no solver, and everything above reads it."""
