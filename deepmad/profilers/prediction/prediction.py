"""Prediction: a network's latency as a sum over its layers, fitted on the measured probes.

All of it is done in whole numbers: a layer has integer features, every feature an integer cost in
femtoseconds, and their sum is cut to nanoseconds once. So the integer program, a population of networks and a
single one all get the same number. Femtoseconds in 64 bits hold two and a half hours.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from deepmad.profilers.prediction.accuracy import conformal_interval
from deepmad.profilers.prediction.coverage import Coverage
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.profilers.prediction.quantities import LONGEST_SECONDS, SPARE_LOAD, STOLEN_SHARE
from deepmad.profilers.prediction.rows import Row, undisturbed
from deepmad.profilers.prediction.stored import interval, mapping, rising, whole, wholes, words
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count, Layer

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

FEMTOSECONDS = 10**15
FEMTOSECONDS_IN_NANOSECOND = 10**6
MOST_COST = round(LONGEST_SECONDS * FEMTOSECONDS)
"""Femtoseconds that one unit of a feature can cost."""
SHORT_WEIGHT = 0.1
"""Weight of a short probe's relative error: it tells layers apart, but runs warmer than in a whole network."""
DISTURBED = 1.1
"""A probe is disturbed if the anchor took more than this many times its usual time in all of its rounds."""
DISTURBED_WEIGHT = 0.1
"""What a disturbed probe's weight is multiplied by: networks of other sizes suffer differently from a neighbour."""
RIDGE = 1e-3
"""Pull of every cost towards 0, relative to the errors: what the probes do not tell is not made up."""
FOLDS = 5


@dataclass(frozen=True)
class Prediction:
    """A fitted predictor: the cost of every feature in femtoseconds, and of a network whatever its layers."""

    basis: Basis
    costs: tuple[tuple[str, int], ...]
    overhead_femtoseconds: int
    interval: tuple[float, float] | None = None
    """Where 95 % of measured over predicted lie for whole networks; None where too few were measured to tell."""
    covers: Coverage | None = None
    """What the measured layers span; None in files that do not tell."""

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""
        return self.overhead_femtoseconds // FEMTOSECONDS_IN_NANOSECOND

    @cached_property
    def _cost(self) -> dict[str, int]:
        return dict(self.costs)

    def nanoseconds(self, layer: Layer) -> Count:
        """Return the nanoseconds of `layer` for one batch: an int, or an int64 array for a record of arrays.

        Raises `InputError` for a kind of layer that no probe had.
        """
        total: Count = 0
        for name, value in terms(layer, self.basis):
            cost = self._cost.get(name)
            if cost is None and name.endswith(".layers"):
                kind = name.removesuffix(".layers")
                known = ", ".join(item.removesuffix(".layers") for item, _ in self.costs if item.endswith(".layers"))
                raise InputError(f"table: it holds no time of a {kind} layer, only of {known}; build one for the space")
            total = total + value * (cost or 0)
        nanoseconds: Count = total // FEMTOSECONDS_IN_NANOSECOND
        return nanoseconds

    def to_dict(self) -> dict[str, Any]:
        """Return the predictor as a JSON document."""
        return {
            "sides": list(self.basis.sides),
            "kernels": list(self.basis.kernels),
            "overhead_femtoseconds": self.overhead_femtoseconds,
            "interval": self.interval,
            "covers": self.covers.to_dict() if self.covers else None,
            "femtoseconds": dict(self.costs),
        }

    @staticmethod
    def from_dict(document: dict[str, Any]) -> "Prediction":
        """Return the predictor of a document that `to_dict` wrote. Raises `ValueError` or `KeyError` for another."""
        sides, kernels = (rising(wholes(document[name], least=1)) for name in ("sides", "kernels"))
        costs = {words(name): whole(cost, most=MOST_COST) for name, cost in mapping(document["femtoseconds"]).items()}
        if not costs:
            raise ValueError("it knows no cost")
        overhead = whole(document["overhead_femtoseconds"], most=MOST_COST)
        covers = Coverage.from_dict(document.get("covers"))
        basis = Basis(sides, kernels)
        return Prediction(basis, tuple(costs.items()), overhead, interval(document.get("interval")), covers)


class Predictor(Protocol):
    """What a latency table predicts with, fitted or imported."""

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where 95 % of measured over predicted lie for whole networks; None where nobody knows."""

    @property
    def covers(self) -> Coverage | None:
        """What the measured layers span; None where nobody knows."""

    def nanoseconds(self, layer: Layer) -> Count:
        """Nanoseconds of `layer` for one batch, as an int, or an int64 array where the record holds arrays."""


def network_nanoseconds(predictor: Predictor, network: Architecture) -> int:
    """Return the nanoseconds of a whole network for one batch."""
    parts = [part for part in network.parts() if part.repeats]
    layers = (int(part.repeats * predictor.nanoseconds(layer)) for part in parts for layer in part.body.layers)
    return predictor.overhead_nanoseconds + sum(layers)


def all_network_nanoseconds(predictor: Predictor, networks: Sequence[Architecture]) -> list[int]:
    """Return `network_nanoseconds` of every network; each layer that they have is priced once, in arrays."""
    places: dict[Layer, int] = {}  # where each different layer stands
    indices: list[int] = []
    repeats: list[int] = []
    starts: list[int] = []
    for network in networks:
        starts.append(len(indices))
        for part in network.parts():
            for layer in part.body.layers if part.repeats else ():
                indices.append(places.setdefault(layer, len(places)))
                repeats.append(part.repeats)
    if not indices:
        return []
    each = np.array(repeats, dtype=np.int64) * _priced(predictor, list(places))[indices]
    totals: list[int] = (predictor.overhead_nanoseconds + np.add.reduceat(each, starts)).tolist()
    return totals


def _priced(predictor: Predictor, layers: Sequence[Layer]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the nanoseconds of every layer; those that differ in numbers of channels and kernel only go together."""
    kinds: dict[Layer, list[int]] = defaultdict(list)
    for index, layer in enumerate(layers):
        kinds[replace(layer, inputs=0, outputs=0, kernel=0)].append(index)
    found = np.empty(len(layers), dtype=np.int64)
    for kind, members in kinds.items():
        numbers = np.array([(layers[index].inputs, layers[index].outputs, layers[index].kernel) for index in members])
        inputs, outputs, kernel = numbers.T
        found[members] = predictor.nanoseconds(replace(kind, inputs=inputs, outputs=outputs, kernel=kernel))
    return found


def usual_level(rows: Sequence[Row]) -> float:
    """Return the anchor's usual undisturbed seconds: of its fastest visits beside each probe, where most of them lie.

    That is the median of the narrowest range that holds half of them. Disturbances only add time, each another amount,
    while an undisturbed machine gives about the same time again and again. So this finds the undisturbed time even
    where a third of the build was disturbed throughout.
    """
    levels = np.sort([min(row.anchor) for row in rows])
    half = (len(levels) + 1) // 2
    start = int(np.argmin(levels[half - 1 :] - levels[: len(levels) - half + 1]))
    return float(np.median(levels[start : start + half]))


def probe_seconds(rows: Sequence[Row]) -> Vector:
    """Return the undisturbed seconds of each probe, half of the machine's drift divided out.

    Other work on the machine comes in bursts and only adds time. So the fastest of a probe's visits is taken, relative
    to the fastest of the anchor's in the same rounds. Of what the anchor's differ from its usual time, about half is
    drift and half chance (in logarithms); only the drift is divided out.
    """
    found = np.array([[min(undisturbed(visit) for visit in row.visits), min(row.anchor)] for row in rows])
    seconds: Vector = found[:, 0] * np.sqrt(usual_level(rows) / found[:, 1])
    return seconds


def disturbed(rows: Sequence[Row]) -> list[bool]:
    """Return for each probe whether the anchor was slow in every round it was measured in, so that it tells less."""
    usual = usual_level(rows)
    return [bool(min(row.anchor) > DISTURBED * usual) for row in rows]


def busy(row: Row, threads: int) -> bool:
    """Return whether other work was running beside a probe, by the load average and by what the hypervisor kept."""
    return max(row.load_before, row.load_after) > threads + SPARE_LOAD or row.stolen_share > STOLEN_SHARE


def excess(rows: Sequence[Row]) -> Vector:
    """Return (measured - fitted) / fitted of every probe; one far above 0 may have been disturbed throughout."""
    features, _ = _features(rows, Basis.of([row.architecture for row in rows]))
    seconds = probe_seconds(rows)
    found: Vector = seconds / (features @ solve_costs(features, seconds, _weights(rows))) - 1
    return found


def fit_probes(rows: Sequence[Row]) -> Prediction:
    """Return the predictor of the measured probes; the same rows give the same one, to the bit."""
    basis = Basis.of([row.architecture for row in rows])
    features, names = _features(rows, basis)
    costs = solve_costs(features, probe_seconds(rows), _weights(rows))
    rounded = [round(float(cost) * FEMTOSECONDS) for cost in costs]
    named = tuple(zip(names[1:], rounded[1:], strict=True))
    covers = Coverage.of(layer for row in rows for layer in _layers(row.architecture))
    errors = held_out_errors(rows) if len(rows) >= FOLDS else None
    return Prediction(basis, named, rounded[0], None if errors is None else conformal_interval(errors), covers)


def _layers(network: Architecture) -> Iterator[Layer]:
    """Yield every different layer of a network's parts."""
    for part in network.parts():
        yield from part.body.layers if part.repeats else ()


def held_out_errors(rows: Sequence[Row]) -> Vector:
    """Return (predicted - measured) / measured of every whole network, each predicted from other probes.

    The probes are dealt out into five folds; there must be five at least.
    """
    features, _ = _features(rows, Basis.of([row.architecture for row in rows]))
    seconds, weights = probe_seconds(rows), _weights(rows)
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    predicted = np.zeros(len(rows))
    for held_out in range(FOLDS):
        used = fold != held_out
        predicted[~used] = features[~used] @ solve_costs(features[used], seconds[used], weights[used])
    whole = np.array([not row.short for row in rows])
    errors: Vector = ((predicted - seconds) / seconds)[whole]
    return errors


def _weights(rows: Sequence[Row]) -> Vector:
    short = np.array([SHORT_WEIGHT if row.short else 1.0 for row in rows])
    weights: Vector = short * np.where(disturbed(rows), DISTURBED_WEIGHT, 1.0)
    return weights


def _features(rows: Sequence[Row], basis: Basis) -> tuple[Matrix, list[str]]:
    """Return the features of every probe, a row each, and their names; the first is the network itself."""
    found = []
    for row in rows:
        total: dict[str, int] = {"network": 1}
        for part in row.architecture.parts():
            for layer in part.body.layers if part.repeats else ():
                for name, value in terms(layer, basis):
                    total[name] = total.get(name, 0) + part.repeats * int(value)
        found.append(total)
    return feature_matrix(found)


def feature_matrix(totals: Sequence[dict[str, int]]) -> tuple[Matrix, list[str]]:
    """Return the named features as a matrix, a row each, and the names of its columns; the first is `network`."""
    names = ["network", *sorted({name for total in totals for name in total} - {"network"})]
    return np.array([[float(total.get(name, 0)) for name in names] for total in totals]), names


def solve_costs(features: Matrix, seconds: Vector, weights: Vector) -> Vector:
    """Return the non-negative cost of every feature that minimises the weighted squared relative errors.

    `features` (rows, columns) has the network itself in its first column, whose cost nothing pulls towards 0;
    `seconds` and `weights` are one a row. The costs are in seconds, one a column.
    """
    from scipy.optimize import nnls

    relative = features / seconds[:, None] * weights[:, None]
    scale = np.sqrt((relative**2).mean(axis=0))
    scale[scale == 0] = 1.0
    ridge = np.sqrt(RIDGE * len(seconds)) * np.diag(np.arange(len(scale)) > 0)  # the network's own cost is free
    columns = np.vstack([relative / scale, ridge])
    costs, _ = nnls(columns, np.concatenate([weights, np.zeros(len(scale))]), maxiter=100 * len(scale))
    return np.asarray(costs / scale, dtype=np.float64)
