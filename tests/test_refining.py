"""Finer grids: made-up cells whose factors follow from what the trees are told of a layer."""

from dataclasses import replace

import numpy as np

from deepmad.profilers.prediction.grids import Axes
from deepmad.profilers.prediction.refining import Cells, refined
from deepmad.profilers.prediction.rooflines import WORKLOADS, Roofline, features


def aligned(outputs: tuple[int, ...]) -> Cells:
    """Return cells that take a seventh less where the outputs are a multiple of 64: factors over the arithmetic."""
    axes = Axes(False, True, (1, 3), (1,), (0,), (0.5, 1.0, 2.0), outputs, (16, 24, 32, 48, 64, 96, 128, 192))
    factors = -0.15 * (np.array(outputs) % 64 == 0)[:, None]
    logs = np.broadcast_to(factors, (1, *axes.shape)).copy()
    return Cells(axes, (Roofline(1, (0.0, 1.0, 0.0, 0.0)),), logs, np.ones(logs.shape, dtype=bool))


def test_new_lines_are_learnt_from_measured_ones_that_are_hidden() -> None:
    cells = aligned((16, 32, 48, 64, 80, 128, 144, 160, 192, 256, 288, 320, 512, 640, 1024))
    finer = refined(cells)
    assert set(finer.axes.outputs) - set(cells.axes.outputs) == {24, 40, 56, 96, 112, 224, 384, 448, 768, 896}
    assert set(finer.axes.sides) - set(cells.axes.sides) == {20, 28, 40, 56, 80, 112, 160}
    assert finer.axes.levels == (0.5, 1.0, 2.0)  # too few to learn from
    sides, old = np.isin(finer.axes.sides, cells.axes.sides), np.isin(finer.axes.outputs, cells.axes.outputs)
    assert (finer.logs[..., old, :][..., sides] == cells.logs).all()
    assert finer.measured.sum() == cells.measured.sum()
    assert np.isfinite(finer.logs).all()
    places = np.log2(finer.axes.outputs)
    between = [np.interp(places, places[old], cells.logs[0, 0, 0, 0, 0, :, side]) for side in range(sides.sum())]
    truth = aligned(finer.axes.outputs).logs[..., ~old, :]
    error = np.abs(finer.logs[..., ~old, :][..., sides] - truth).mean()
    assert error < 0.6 * np.abs(np.array(between).T[~old] - truth).mean()


def test_a_ratio_beyond_the_measured_ones_is_learnt_too() -> None:
    axes = Axes(False, True, (1, 3), (1,), (0,), (0.25, 0.5, 1.0, 2.0), (32, 64, 128), (4, 8, 16, 32, 64))
    trend = 0.3 * np.arange(4)[:, None, None]  # the factor of the last line, kept, would be wrong by 0.3
    logs = np.broadcast_to(trend, (6, *axes.shape)).copy()
    rooflines = tuple(Roofline(2**power, (0.0, 1.0, 0.0, 0.0)) for power in range(6))
    finer = refined(Cells(axes, rooflines, logs, np.ones(logs.shape, dtype=bool)))
    assert finer.axes.levels == (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
    assert np.abs(finer.logs[:, :, :, :, -1] - 1.2).max() < 0.1


def test_a_small_table_stays_as_coarse_as_it_is() -> None:
    cells = aligned((8, 16, 32, 64, 128))
    few = replace(cells, measured=cells.measured & (np.arange(cells.logs.size) < 100).reshape(cells.logs.shape))
    assert refined(few) is few


def test_workloads_are_what_grows_with_the_outputs() -> None:
    cells = aligned((64, 128))
    layer = cells.axes.layer(1, 0, 128)
    told = features(layer, 8, cells.rooflines[0].nanoseconds(layer))
    grown = told[:, :, 1] - told[:, :, 0]  # logarithms of base 2, twice the outputs at the same ratio of inputs
    macs, moved, roofline, *waves = (grown[..., column] for column in WORKLOADS)
    assert np.allclose(macs, 2)  # twice the inputs too
    assert np.allclose(roofline, 2)
    assert ((moved > 0.9) & (moved < 2)).all()
    assert all(((one >= 0) & (one <= 1)).all() for one in waves)
