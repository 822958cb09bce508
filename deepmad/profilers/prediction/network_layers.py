"""What any network is made of, as far as layer records can say it, and what a latency table makes of that."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Count, Layer, total_macs, total_params


@dataclass(frozen=True)
class NetworkLayers:
    """A network's layer records and its counts for one image.

    `activations` is the number of elements that convolutions and matrix products write (timm's `macts`).
    `left_out` names the operators that have no record, `approximated` those that stand as the nearest one, each with
    how often. `withheld` is the sentence that says why the records cannot stand for the network; None where they can.
    `uncounted` names the operators whose work the counts leave out, `assumed` what the counts take for granted.
    """

    layers: tuple[Layer, ...]
    macs: int
    params: int
    activations: int
    left_out: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()
    withheld: str | None = None
    uncounted: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @staticmethod
    def of(architecture: Architecture) -> "NetworkLayers":
        """Return what an architecture is made of: its own records."""
        parts = architecture.parts()
        layers = tuple(layer for part in parts for _ in range(part.repeats) for layer in part.body.layers)
        products = (layer for layer in layers if layer.operation in ("conv", "linear"))
        activations = sum(layer.output_elements for layer in products)
        return NetworkLayers(layers, int(total_macs(parts)), int(total_params(parts)), activations)

    @property
    def counts_note(self) -> str | None:
        """What the counts leave out or take for granted, in a sentence; None where they are the network's own."""
        least = f"at least, without {', '.join(self.uncounted)}" if self.uncounted else None
        return "; ".join(filter(None, [least, *self.assumed])) or None

    @property
    def caveat(self) -> str | None:
        """What a prediction from these records leaves out or approximates, in a sentence; None for nothing."""
        told = []
        if self.left_out:
            told.append(f"it leaves out {', '.join(self.left_out)}")
        if self.approximated:
            told.append(f"it takes {', '.join(self.approximated)}")
        return "; ".join(told) or None


class Prices(Protocol):
    """What a latency table says of layers."""

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""

    def nanoseconds(self, layer: Layer) -> Count:
        """Nanoseconds of `layer` for one batch."""


def predict_layers(table: Prices, layers: Iterable[Layer]) -> float:
    """Return the predicted seconds for one batch of a network made of `layers`, from a latency table.

    For an architecture's own records it is what `LatencyTable.predict` gives, to the nanosecond. Raises
    `InputError` for a kind of layer that the table does not hold.
    """
    nanoseconds = sum(count * int(table.nanoseconds(layer)) for layer, count in Counter(layers).items())
    return (table.overhead_nanoseconds + nanoseconds) / 1e9
