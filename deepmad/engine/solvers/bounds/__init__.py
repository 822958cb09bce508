"""Valid upper bounds on a problem's objective, by branch and price over the stages. Whatever proves comes in."""

from deepmad.engine.solvers.bounds.search import BoundStep, Outcome, Share, Tree, tighten

__all__ = ["BoundStep", "Outcome", "Share", "Tree", "tighten"]
