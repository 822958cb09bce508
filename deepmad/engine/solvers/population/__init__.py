"""Populations: networks as rows of an integer matrix, evaluated at once. What searches and evolves comes in."""
