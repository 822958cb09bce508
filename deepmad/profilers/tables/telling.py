"""What a latency table tells of any network, given as layer records: its seconds, or why there are none."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepmad.profilers.prediction.coverage import REFUSED
from deepmad.profilers.prediction.network_layers import NetworkLayers, predict_layers
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from deepmad.profilers.tables.tables import LatencyTable


@dataclass(frozen=True)
class Told:
    """Predicted seconds for one batch, or None, and what is to be said about them, a sentence each.

    `within` is the share of the layers within what the table's rows span; None where nobody knows. `guess` says that
    the seconds are withheld because they would be one.
    """

    seconds: float | None
    notes: tuple[str, ...] = ()
    within: float | None = None
    guess: bool = False


def tell(table: "LatencyTable", network: NetworkLayers, *, force: bool = False) -> Told:
    """Return what a table predicts for a network.

    Without `force` that is nothing where most layers lie outside of what the table's rows span, or where a kernel lies
    beyond all of them: it would be a guess.
    """
    if network.withheld is not None:
        return Told(None, (network.withheld,))
    within = table.within(network.layers)
    share, outside = (None, None) if within is None else (within.share, within.sentence if within.lacking else None)
    if within is not None and (within.share < REFUSED or within.kernels) and not force:
        return Told(None, (f"withheld: {outside}",), share, guess=True)
    try:
        seconds = predict_layers(table, network.layers)
    except InputError as error:
        return Told(None, (str(error),), share)
    return Told(seconds, tuple(note for note in (outside, network.caveat) if note is not None), share)
