"""Fronts: the networks that trade the objective for one cost, and a curve that no network crosses."""
