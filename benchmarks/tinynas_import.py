"""How well an imported table predicts convolutions that it was not given.

Holds rows of a published TinyNAS table out, imports the others, predicts those held out, and writes the errors to
results/. `random` holds out a share of all rows; the others hold out whole levels of the grid, which is what a
network asks for whose widths and sides lie between the grid's, or beyond its ends. Beside the table's own predictor
(`table`) stands gradient boosting on the rows' plain numbers (`trees`).

    python -m benchmarks.tinynas_import conv_data.out conv_data.out.fp16
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import write_results
from deepmad.profilers.importing.filling import predict_from
from deepmad.profilers.importing.tinynas_files import read_tinynas
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.prediction.convolutions import Bools, ConvolutionTimes
from deepmad.profilers.prediction.grids import NARROW, GridPrediction
from deepmad.profilers.prediction.rooflines import Floats
from deepmad.search_spaces.layers import Layer


def main(
    files: Annotated[list[Path], typer.Argument(help="Published tables; they are no part of this project.")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    share: Annotated[float, typer.Option(help="Share of the rows that `random` holds out.")] = 0.2,
    baseline: Annotated[bool, typer.Option(help="Report plain gradient boosting too.")] = True,
    name: Annotated[str, typer.Option(help="Name of the file in results/.")] = "tinynas_import",
    only: Annotated[list[str] | None, typer.Option(help="Draws to run; all of them where none is named.")] = None,
) -> None:
    """Hold rows out, predict them, and report the accuracy."""
    rows = []
    for path in files:
        if not path.is_file():
            print(f"{path}: there is no such file; skipped")
            continue
        times, _, _ = read_tinynas(path)
        for draw, held_out in draws(times, seed, share):
            if not held_out.any() or (only and draw not in only):
                continue
            known, asked = times.where(~held_out), times.where(held_out)
            found = {"trees": boosted(known, asked)} if baseline else {}
            found["table"] = predicted(predict_from(known), asked)
            for predictor, nanoseconds in found.items():
                errors = nanoseconds / asked.nanoseconds - 1
                for part, mask in parts(asked):
                    figures = figures_of(errors[mask])
                    rows.append({"file": path.name, "held_out": draw, "predictor": predictor, "of": part, **figures})
                    print(" ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            print(f"written: {write_results(name, rows)}", flush=True)  # a draw takes minutes


def draws(times: ConvolutionTimes, seed: int, share: float) -> Iterator[tuple[str, Bools]]:
    """Yield a name and a mask of what is held out."""
    outputs, sides = np.unique(times.outputs), np.unique(times.side)
    wide = times.inputs >= NARROW
    yield "random", np.random.default_rng(seed).random(len(times)) < share
    yield "sides 14 and 56", np.isin(times.side, (14, 56))
    yield "widest input over output", wide & (times.inputs == 4 * times.outputs)
    yield "outputs 96 and 384", np.isin(times.outputs, (96, 384))
    yield "every third width", np.isin(times.outputs, outputs[2:-1:3]) & wide
    yield "every third side", np.isin(times.side, sides[2:-1:3]) & wide
    yield "smallest sides", np.isin(times.side, sides[:2])


def boosted(known: ConvolutionTimes, asked: ConvolutionTimes) -> Floats:
    """Return what gradient boosting on the rows' numbers and their logarithms predicts: nanoseconds of every row.

    It is the baseline: it knows neither the roofline nor the measured rows around the one that is asked for.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    def table(rows: ConvolutionTimes) -> Floats:
        area = (rows.side // rows.stride) ** 2
        macs = rows.batch * area * rows.outputs * rows.kernel**2 * np.where(rows.depthwise == 1, 1, rows.inputs)
        moved = rows.batch * (rows.inputs * rows.side**2 + (1 + rows.adds) * rows.outputs * area)
        plain = (rows.depthwise, rows.batch, rows.inputs, rows.side, rows.outputs, rows.kernel, rows.stride, rows.adds)
        return np.stack([*plain, np.log(macs), np.log(moved), np.log(macs / moved)], axis=-1).astype(np.float64)

    model = HistGradientBoostingRegressor(
        max_iter=400, learning_rate=0.07, max_leaf_nodes=63, early_stopping=False, random_state=0
    )
    model.fit(table(known), np.log(known.nanoseconds))
    return np.exp(np.asarray(model.predict(table(asked)), dtype=np.float64))


def predicted(predictions: dict[int, GridPrediction], rows: ConvolutionTimes) -> Floats:
    """Return the predicted nanoseconds of every row."""
    found = np.empty(len(rows))
    keys = np.stack([rows.batch, rows.depthwise, rows.side, rows.stride, rows.adds], axis=1)
    for key in np.unique(keys, axis=0):
        mask = (keys == key).all(axis=1)
        batch, depthwise, side, stride, adds = key.tolist()
        layer = Layer(
            "main", "conv", rows.inputs[mask], rows.outputs[mask], side, rows.kernel[mask], stride,
            depthwise=bool(depthwise), adds=bool(adds),
        )  # fmt: skip
        found[mask] = predictions[batch].nanoseconds(layer)
    return found


def parts(rows: ConvolutionTimes) -> Iterator[tuple[str, Bools]]:
    """Yield the parts of the rows that are told apart."""
    yield "all", np.ones(len(rows), dtype=bool)
    for batch in np.unique(rows.batch):
        yield f"batch {batch}", rows.batch == batch
    kinds = {"dense": rows.depthwise == 0, "depthwise": rows.depthwise == 1, "3 inputs": rows.inputs < NARROW}
    yield from ((name, mask) for name, mask in kinds.items() if mask.any())


def figures_of(errors: Floats) -> dict[str, float]:
    """Return the accuracy that some relative errors make, and the median of their bias."""
    found = {"rows": len(errors), **accuracy(errors), "median_error_percent": 100 * float(np.median(errors))}
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    typer.run(main)
