"""Design CNNs for a hardware budget."""

__version__ = "0.1.0"
