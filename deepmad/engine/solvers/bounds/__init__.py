"""Valid upper bounds on a problem's objective, by branch and price over the stages."""

from deepmad.engine.solvers.bounds.search import BoundStep, tighten

__all__ = ["BoundStep", "tighten"]
