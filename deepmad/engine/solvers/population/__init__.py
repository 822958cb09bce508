"""Populations: many networks of one space as an integer matrix, evaluated at once from their layer records."""
