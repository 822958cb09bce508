"""Functions of networks that other processes import: this file needs nothing that takes long to load."""

from deepmad.search_spaces.architectures import Architecture


def width_in_all(network: Architecture) -> float:
    """Return a number that no solver counts: depths times widths, summed."""
    return float(sum(stage.depth * stage.width for stage in network.stages))
