"""Prediction in whole numbers: one answer for one record and for an array of records."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepmad.profilers.building.probes import draw_probes, random_network
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.profilers.prediction.prediction import (
    Prediction,
    disturbed,
    fit_probes,
    held_out_errors,
    network_nanoseconds,
    probe_seconds,
    usual_level,
)
from deepmad.profilers.prediction.rows import Row
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from deepmad.search_spaces.spaces import Space, load_space

BASIS = Basis((7, 14, 28, 56, 112), (1, 3, 5))
LAYERS = {
    "dense": Layer("main", "conv", 64, 128, 28, 3, 2, activation="relu"),
    "depthwise": Layer("main", "conv", 96, 96, 56, 5, 1, depthwise=True),
    "gate pool": Layer("gate", "global_pool", 96, 96, 28, norm=False),
    "gate conv": Layer("gate", "conv", 96, 24, 1),
    "shortcut pool": Layer("shortcut", "average_pool", 64, 64, 28, 2, 2, norm=False),
    "pool": Layer("classifier", "global_pool", 512, 512, 7, norm=False),
    "classifier": Layer("classifier", "linear", 512, 1000, 1, norm=False, bias=True),
}


def random_costs(seed: int, layers: list[Layer]) -> Prediction:
    """Return a predictor with random costs for every feature of the layers, as large as real ones."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid([8, 16, 512], [1, 3, 5])
    names = set()
    for layer in layers:
        population = replace(layer, inputs=grid[0].ravel(), kernel=grid[1].ravel())
        names |= {name for name, _ in terms(population, BASIS)} | {name for name, _ in terms(layer, BASIS)}
    return Prediction(BASIS, tuple((name, int(rng.integers(0, 10**7))) for name in sorted(names)), 123_456_789)


@pytest.mark.parametrize("name", LAYERS)
def test_scalars_and_arrays_get_the_same_integers(name: str) -> None:
    layer, rng = LAYERS[name], np.random.default_rng(3)
    prediction = random_costs(1, [layer])
    size = 300
    inputs, kernel = rng.integers(1, 2049, size), rng.choice([1, 3, 5, 7], size)
    outputs = inputs if layer.depthwise else rng.integers(1, 2049, size)
    population = replace(layer, inputs=inputs, outputs=outputs, kernel=kernel)
    found = np.broadcast_to(prediction.nanoseconds(population), size)
    assert found.dtype == np.int64
    for index in range(size):
        one = replace(layer, inputs=int(inputs[index]), outputs=int(outputs[index]), kernel=int(kernel[index]))
        alone = prediction.nanoseconds(one)
        assert isinstance(alone, int)
        assert alone == found[index]


def test_numbers_that_broadcast_are_taken() -> None:
    layer = LAYERS["dense"]
    prediction = random_costs(2, [layer])
    inputs, outputs = np.array([8, 64, 200])[:, None], np.array([16, 24])[None, :]
    found = prediction.nanoseconds(replace(layer, inputs=inputs, outputs=outputs, kernel=np.int64(3)))
    assert found.shape == (3, 2)
    assert found[1, 1] == prediction.nanoseconds(replace(layer, inputs=64, outputs=24))


def test_sixty_four_bits_hold_large_layers_in_large_batches() -> None:
    layer = Layer("main", "conv", 2048, 2048, 56, 5)
    names = {name for name, _ in terms(layer, BASIS)}
    cost = 64 * 16 * 10**5  # batch 64 at 10 GMAC/s: 16 MACs take 1.6 ns an image; a good core is ten times as fast
    prediction = Prediction(BASIS, tuple((name, cost if name.endswith(".macs") else 0) for name in names), 0)
    arrays = replace(layer, inputs=np.array([2048, 8]), outputs=np.array([2048, 8]), kernel=np.array([5, 3]))
    exact = 2048 * 128 * 25 * 56**2 * cost // 10**6
    assert prediction.nanoseconds(layer) == exact
    with pytest.raises(InputError, match="narrow"):
        prediction.nanoseconds(arrays)
    assert prediction.nanoseconds(replace(layer, inputs=np.array([2048])))[0] == exact


def test_layers_that_were_never_measured_are_refused() -> None:
    prediction = random_costs(4, [LAYERS["dense"]])
    with pytest.raises(InputError, match=r"depthwise5/1.*only of"):
        prediction.nanoseconds(LAYERS["depthwise"])


def test_sides_between_known_ones_are_split() -> None:
    assert BASIS.side_shares(28) == {28: 16}
    assert BASIS.side_shares(4) == {7: 16}
    assert BASIS.side_shares(200) == {112: 16}
    assert BASIS.side_shares(20) == {14: 8, 28: 8}
    assert all(sum(BASIS.side_shares(side).values()) == 16 for side in range(1, 230))


def test_every_kernel_belongs_to_one_group() -> None:
    for kernel in range(1, 12):
        assert sum(int(mask) for _, mask in BASIS.kernel_masks(kernel)) == 1
    masks = dict(BASIS.kernel_masks(np.array([1, 3, 5, 7])))
    assert masks[5].tolist() == [False, False, True, True]


def rows_of(space: Space, seconds: Any, *, noise: float = 0.0, count: int = 40) -> list[Row]:
    """Return the rows of a space's probes, timed by a function of the architecture."""
    probes, rng = draw_probes(space, 0, count, 2 * count), np.random.default_rng(5)
    rows = []
    for network in (*probes.networks, *probes.short):
        time = seconds(network)
        drift = rng.uniform(0.95, 1.1, 3)
        visits = [[time * level * rng.normal(1, noise)] * 3 for level in drift]
        rows.append(Row(network, network in probes.short, visits, (0.01 * drift).tolist(), "", 0.0, 0.0, 0.0))
    return rows


TRUE_FEMTOSECONDS = {"layers": 3 * 10**9, "macs": 300_000, "outputs": 2 * 10**6, "weights": 4 * 10**6}


def true_seconds(network: Architecture) -> float:
    """Return the seconds of a network on a device whose costs are known."""
    total = 50e-6
    for part in network.parts():
        for layer in part.body.layers:
            for name, value in terms(layer, BASIS):
                total += part.repeats * int(value) * TRUE_FEMTOSECONDS.get(name.partition(".")[2], 0) / 1e15
    return total


@pytest.mark.parametrize("preset", ["r18", "mbv2"])
def test_a_fit_finds_costs_that_add_up_whatever_the_drift(preset: str) -> None:
    space = load_space(preset)
    rows = rows_of(space, true_seconds, noise=0.005)
    usual = usual_level(rows) / 0.01
    expected = np.array([true_seconds(row.architecture) for row in rows]) * usual
    assert np.abs(probe_seconds(rows) / expected - 1).max() < 0.05  # half of a drift of -5 to 10 % is divided out
    assert np.mean(np.abs(held_out_errors(rows)) < 0.1) > 0.9
    prediction = fit_probes(rows)
    assert all(cost >= 0 for _, cost in prediction.costs)
    network = random_network(space, np.random.default_rng(77), low=0.3)
    assert network_nanoseconds(prediction, network) / 1e9 == pytest.approx(true_seconds(network) * usual, rel=0.1)


def test_a_fit_is_reproducible_and_survives_json_and_pickle() -> None:
    rows = rows_of(load_space("r18"), true_seconds, noise=0.02, count=20)
    prediction = fit_probes(rows)
    assert fit_probes(rows) == prediction
    assert Prediction.from_dict(prediction.to_dict()) == prediction
    assert pickle.loads(pickle.dumps(prediction)) == prediction


def test_a_disturbed_third_of_the_build_does_not_spoil_the_rest() -> None:
    space = load_space("r18")
    rows = rows_of(space, true_seconds)
    spoilt = [
        replace(row, anchor=[3 * level for level in row.anchor], visits=[[1.5 * visit[0]] for visit in row.visits])
        if index % 3 == 0
        else row
        for index, row in enumerate(rows)
    ]
    assert disturbed(spoilt) == [index % 3 == 0 for index in range(len(rows))]
    assert usual_level(spoilt) == pytest.approx(usual_level(rows), rel=0.02)
    network = random_network(space, np.random.default_rng(5), low=0.3)
    clean, after = (network_nanoseconds(fit_probes(found), network) for found in (rows, spoilt))
    assert after == pytest.approx(clean, rel=0.05)


def test_bursts_in_single_visits_leave_a_probe_alone() -> None:
    rows = rows_of(load_space("r18"), true_seconds)
    rng = np.random.default_rng(3)
    burst = [
        replace(
            row,
            visits=[
                [time * (1.5 if index == hit else 1.0) for time in visit] for index, visit in enumerate(row.visits)
            ],
            anchor=[level * (1.4 if index == (hit + 1) % 3 else 1.0) for index, level in enumerate(row.anchor)],
        )
        for row, hit in zip(rows, rng.integers(0, 3, len(rows)).tolist(), strict=True)
    ]
    calm = [replace(row, visits=[[true_seconds(row.architecture)]] * 3, anchor=[0.01] * 3) for row in rows]
    scale = usual_level(burst) / 0.01
    assert np.abs(probe_seconds(burst) / (scale * probe_seconds(calm)) - 1).max() < 0.15  # drift, not the bursts' 40 %


def test_the_interval_holds_what_it_promises() -> None:
    space = load_space("r18")
    rows = rows_of(space, true_seconds, noise=0.05, count=80)
    low, high = fit_probes(rows).interval or (1.0, 1.0)
    assert low < 1 < high
    ratios = 1 / (1 + held_out_errors(rows))
    assert np.mean((ratios >= low) & (ratios <= high)) >= 0.95
    assert fit_probes(rows_of(space, true_seconds, count=20)).interval is None  # too few to promise anything
