"""Long measurements, by hand: each writes a CSV with its conditions to results/."""
