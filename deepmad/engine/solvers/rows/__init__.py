"""Rows of block kinds and strides: which one to build, with a proof over all of them. For `design` alone."""
