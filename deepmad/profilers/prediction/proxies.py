"""A crude predictor: latency as a sum over multiply-accumulates, parameters and activations.

It knows nothing of kernels, sides or channels, so it errs by tens of per cent; it serves where nothing finer was
published, and as the baseline that a table must beat. Its costs are whole numbers, so that the integer program adds up
the very same nanoseconds. They are in hundredths of a femtosecond, for a fast device does 500 multiply-accumulates in a
picosecond; in 64 bits that allows a layer a minute and a half.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.prediction.quantities import LONGEST_SECONDS
from deepmad.profilers.prediction.stored import interval, whole
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Count, Layer

UNITS_IN_SECOND = 10**17
"""Hundredths of a femtosecond,"""
UNITS_IN_NANOSECOND = 10**8
"""the same in a nanosecond."""
MOST_COST = round(LONGEST_SECONDS * UNITS_IN_SECOND)
"""What a multiply-accumulate, a parameter, an activation or a network can cost."""
MIN_NETWORKS = 50
"""Networks that an imported proxy needs, so that the fifth that is held out tells how well it fits."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ProxyPrediction:
    """What a multiply-accumulate, a parameter, an activation and a network cost, in hundredths of a femtosecond."""

    mac: int
    parameter: int
    activation: int
    network: int
    interval: tuple[float, float] | None = None
    """Where 95 % of measured over predicted lie for whole networks; None where too few were measured to tell."""

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""
        return self.network // UNITS_IN_NANOSECOND

    @property
    def covers(self) -> None:
        """None: whole networks were measured, and nothing is known of their layers."""
        return None

    def nanoseconds(self, layer: Layer) -> Count:
        """Return the nanoseconds of `layer` for one batch: an int, or an int64 array for a record of arrays."""
        costs = layer.macs * self.mac + layer.params * self.parameter + activations(layer) * self.activation
        return costs // UNITS_IN_NANOSECOND

    def to_dict(self) -> dict[str, Any]:
        """Return the predictor as a JSON document."""
        return {"kind": "proxy", **asdict(self)}

    @staticmethod
    def from_dict(document: dict[str, Any]) -> "ProxyPrediction":
        """Return the predictor of a document that `to_dict` wrote. Raises `ValueError` or `KeyError` for another."""
        names = ("mac", "parameter", "activation", "network")
        costs = {name: whole(document[name], most=MOST_COST) for name in names}
        return ProxyPrediction(**costs, interval=interval(document["interval"]))


def activations(layer: Layer) -> Count:
    """Return the output elements of a convolution or a linear map for one image, as timm counts activations."""
    return layer.output_elements if layer.operation in ("conv", "linear") else 0 * layer.output_elements


def fit_proxy(
    macs: npt.ArrayLike, params: npt.ArrayLike, activations: npt.ArrayLike, seconds: npt.ArrayLike
) -> ProxyPrediction:
    """Return the proxy that minimises the squared relative errors of some networks, its costs non-negative.

    The arrays have one entry a network: its multiply-accumulates, parameters and activations for one image, and its
    seconds for one batch.
    """
    costs = _costs(_columns(macs, params, activations), np.asarray(seconds, dtype=np.float64))
    mac, parameter, activation, network = (round(float(cost) * UNITS_IN_SECOND) for cost in costs)
    return ProxyPrediction(mac, parameter, activation, network)


def fit_proxy_networks(networks: Sequence[Architecture], seconds: npt.ArrayLike) -> ProxyPrediction:
    """Return the proxy of networks with their seconds for one batch."""
    counts = [NetworkLayers.of(network) for network in networks]
    return fit_proxy(
        [one.macs for one in counts], [one.params for one in counts], [one.activations for one in counts], seconds
    )


def held_out_proxy_errors(
    macs: npt.ArrayLike,
    params: npt.ArrayLike,
    activations: npt.ArrayLike,
    seconds: npt.ArrayLike,
    held_out: npt.NDArray[np.bool_],
) -> Floats:
    """Return (predicted - measured) / measured of the networks of a mask, predicted from those outside it."""
    columns, measured = _columns(macs, params, activations), np.asarray(seconds, dtype=np.float64)
    errors: Floats = columns[held_out] @ _costs(columns[~held_out], measured[~held_out]) / measured[held_out] - 1
    return errors


def _columns(macs: npt.ArrayLike, params: npt.ArrayLike, activations: npt.ArrayLike) -> Floats:
    counts = [np.asarray(values, dtype=np.float64) for values in (macs, params, activations)]
    return np.stack([*counts, np.ones(len(counts[0]))], axis=1)


def _costs(columns: Floats, seconds: Floats) -> Floats:
    """Return the non-negative cost of each column (networks, columns) in seconds."""
    from scipy.optimize import nnls

    relative = columns / seconds[:, None]
    scale = np.sqrt((relative**2).mean(axis=0))
    scale[scale == 0] = 1.0
    costs, _ = nnls(relative / scale, np.ones(len(seconds)))
    return np.asarray(costs / scale, dtype=np.float64)
