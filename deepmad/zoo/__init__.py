"""Zoos: families of networks along targets, from a spec to files and a report."""
