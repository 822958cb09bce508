"""Limits that only a function of the user knows, called in worker processes, once a network. For `design` alone."""
