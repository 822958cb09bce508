"""The design problem as an exact integer program, solved by OR-Tools' CP-SAT. Whatever proves comes in."""

from deepmad.engine.solvers.cpsat.clashes import clashes
from deepmad.engine.solvers.cpsat.distinct import next_best
from deepmad.engine.solvers.cpsat.least import Least, least_use
from deepmad.engine.solvers.cpsat.solving import ExactResult, solve

__all__ = ["ExactResult", "Least", "clashes", "least_use", "next_best", "solve"]
