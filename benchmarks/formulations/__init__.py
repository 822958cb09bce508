"""The design problem in other formulations, to compare with: written down from the same layer records."""
