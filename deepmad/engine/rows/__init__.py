"""Rows of block kinds and strides: which one to build, with a proof over all of them."""

from deepmad.engine.rows.loop import design_rows
from deepmad.engine.rows.settings import Rows

__all__ = ["Rows", "design_rows"]
