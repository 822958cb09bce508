"""How well latency tables predict whole networks on this machine, beside the noise floor and beside a proxy.

For every batch: draws random members of the spaces, adds CNNs of timm, measures all of them, builds a table of each
space (or goes on with one), predicts the networks, and measures them twice more. A network's time is the 10 % quantile
of its fastest visit: other work on the machine comes in bursts and only adds time; the median of all runs stands
beside it. Predictions are compared with the first measurement after the build. There are two noise floors: the
measurement before the build against it, so far apart as tables and their use are, and the one right after it. The proxy
is fitted on the same tables' networks, on their multiply-accumulates, parameters and activations alone. Networks of
timm belong to no space; one fit on all tables predicts them.

    python -m benchmarks.prediction --backend onnxruntime --backend openvino
"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import platformdirs
import typer

from benchmarks.conditions import write_results
from benchmarks.drawn import draw
from benchmarks.plots import plot_predictions
from deepmad.profilers.backends import Settings, find_backend
from deepmad.profilers.building.building import PROBE_TIMER, build_table
from deepmad.profilers.measuring.machine import machine_state
from deepmad.profilers.measuring.reference import REFERENCE
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.prediction.network_layers import NetworkLayers, predict_layers
from deepmad.profilers.prediction.prediction import Prediction, fit_probes, probe_seconds, usual_level
from deepmad.profilers.prediction.proxies import ProxyPrediction, fit_proxy_networks
from deepmad.profilers.prediction.rows import Row, Visit, undisturbed
from deepmad.profilers.tables.table_files import Key, open_table
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import Space, load_space

TIMM = (
    "resnet18", "resnet34", "resnet50", "resnet26", "resnet26d", "wide_resnet50_2",
    "mobilenetv2_100", "mobilenetv2_140", "mnasnet_100", "fbnetc_100",
)  # fmt: skip
"""Well-known CNNs of timm made of the layers that the two default spaces hold: none has squeeze-excitation."""
CHUNK = 10
"""Networks that are timed in turns with the table's anchor."""
MEASUREMENTS = ("before", "measured", "again")
"""Before the tables are built, after that, and right after that."""
CACHE = Path(platformdirs.user_cache_dir("deepmad", appauthor=False)) / "prediction"


@dataclass(frozen=True)
class Asked:
    """A network whose time is predicted: its model for the back end, and the space it is from."""

    name: str
    space: str
    model: Any
    layers: NetworkLayers
    in_channels: int
    resolution: int


@dataclass(frozen=True)
class Times:
    """The seconds of one measurement: of the fastest visit, undisturbed, and the median of all runs."""

    seconds: float
    median: float

    @staticmethod
    def of(visits: Sequence[Visit]) -> "Times":
        """Return the times of some visits."""
        return Times(min(map(undisturbed, visits)), float(np.median([time for visit in visits for time in visit])))


@dataclass(frozen=True)
class Table:
    """What one space's table says: its rows, its predictor, and the seconds it took to build."""

    space: Space
    rows: list[Row]
    prediction: Prediction
    build_seconds: float


def main(
    backend: Annotated[list[str] | None, typer.Option(help="Back ends, one after the other.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Batches, one after the other.")] = None,
    space: Annotated[list[str] | None, typer.Option(help="Spaces to draw from.")] = None,
    precision: str = "fp32",
    threads: int = 1,
    resolution: Annotated[int, typer.Option(help="Side of the input; limits on MACs scale with the area.")] = 96,
    networks: Annotated[int, typer.Option(help="How many networks to draw from all spaces together.")] = 100,
    seconds: Annotated[float, typer.Option(help="Seconds for each of the three measurements of a network.")] = 0.6,
    seed: Annotated[int, typer.Option(help="Seed of the draw; the tables' is their own.")] = 3,
    probes: Annotated[int, typer.Option(help="Whole networks in a table at most.")] = 100,
    short: Annotated[int, typer.Option(help="Short probes in a table.")] = 200,
    tables: Annotated[Path, typer.Option(help="Folder of the tables to build or reuse.")] = CACHE,
) -> None:
    """Build tables, predict and measure random networks, and report the accuracy."""
    spaces = [at_resolution(load_space(name), resolution) for name in space or ("r50", "mbv2")]
    others, timer = from_timm(), replace(PROBE_TIMER, seconds=seconds)
    for name in backend or ("onnxruntime",):
        rows = []
        for size in batch or (1, 8):
            key = Key(name, precision, size, threads)
            asked = [*(one for members in spaces for one in drawn(members, networks // len(spaces), seed)), *others]
            before = measured(key, asked, timer)
            found = [built(members, key, tables, probes, short) for members in spaces]
            rows += told(key, found, asked, [before, measured(key, asked, timer), measured(key, asked, timer)])
        library = find_backend(name, precision)
        stem = f"prediction-{library.device().replace(' ', '-')}-{name.replace(':', '-')}"
        stem += f"-t{threads}" if threads > 1 else ""
        report(rows)
        print(f"written: {write_results(stem, rows)}")
        print(f"written: {plot_predictions(stem, rows)}", flush=True)


def at_resolution(space: Space, side: int) -> Space:
    """Return the space at another input side, its limit on MACs scaled with the area."""
    macs = space.limits.macs
    scaled = None if macs is None else int(macs * (side / space.resolution) ** 2)
    return replace(space, resolution=side, limits=replace(space.limits, macs=scaled))


def built(space: Space, key: Key, folder: Path, probes: int, short: int) -> Table:
    """Return the table of a space, built now or by an earlier call."""
    path = folder / f"{space.name}-{space.resolution}-{key.backend.replace(':', '-')}-b{key.batch}.sqlite"
    began = perf_counter()
    build_table(space, path, **asdict(key), networks=probes, short=short)
    passed = perf_counter() - began
    with open_table(path) as file:
        rows = file.rows(key)
        fit = file.fit(key)
    assert fit is not None, "a build ends with a fit"
    print(f"{path.name}: {len(rows)} probes, built or checked in {passed:.0f} s", flush=True)
    return Table(space, rows, Prediction.from_dict(fit), passed)


def drawn(space: Space, count: int, seed: int) -> list[Asked]:
    """Return random members of a space."""
    return [
        Asked(f"{space.name}-{i}", space.name, one, NetworkLayers.of(one), one.in_channels, one.resolution)
        for i, one in enumerate(draw(space, (), count, seed))
    ]


def from_timm() -> list[Asked]:
    """Return CNNs of timm with random weights at their own resolution, none where timm does not work."""
    from deepmad.profilers.measuring.sources import load_source
    from deepmad.profilers.onnx_files.layers import onnx_layers
    from deepmad.profilers.onnx_files.precisions import onnx_model
    from deepmad.search_spaces.errors import InputError

    found = []
    for name in TIMM:
        try:
            source = load_source(f"timm:{name}")
        except InputError as error:
            print(f"without timm's networks: {error}")
            return []
        assert source.resolution is not None
        settings = Settings(1, "fp32", 1, source.in_channels or 3, source.resolution)
        layers = onnx_layers(onnx_model(source.model, settings), source.resolution)
        found.append(Asked(f"timm:{name}", "timm", source.model, layers, settings.in_channels, settings.resolution))
    return found


def measured(key: Key, asked: Sequence[Asked], timer: Timer) -> list[tuple[Times, float]]:
    """Return the times of every network, prepared anew, and the seconds of the reference network beside it."""
    library = find_backend(key.backend, key.precision)

    def prepared(model: Any, batch: int, channels: int, side: int) -> Callable[[], object]:
        runnable = library.prepare(model, Settings(batch, key.precision, key.threads, channels, side))
        stack.callback(runnable.close)
        return runnable.run

    with ExitStack() as stack:
        reference = prepared(REFERENCE, 1, REFERENCE.in_channels, REFERENCE.resolution)
        runs = [prepared(one.model, key.batch, one.in_channels, one.resolution) for one in asked]
        found: list[tuple[Times, float]] = []
        for start in range(0, len(runs), CHUNK):
            level, *times = map(Times.of, timer.visit_all([reference, *runs[start : start + CHUNK]]))
            found += [(one, level.seconds) for one in times]
    print(f"  measured {len(asked)} networks, load {machine_state().load:.1f}", flush=True)
    return found


def told(
    key: Key, tables: Sequence[Table], asked: Sequence[Asked], measurements: Sequence[list[tuple[Times, float]]]
) -> list[dict[str, Any]]:
    """Return one row a network: predicted, by proxy, and measured three times; raises where a table holds one."""
    library = find_backend(key.backend, key.precision)
    held = {row.architecture for table in tables for row in table.rows}
    assert held.isdisjoint(one.model for one in asked if isinstance(one.model, Architecture)), "a drawn one was a probe"
    predictors = {table.space.name: table.prediction for table in tables}
    proxies = {table.space.name: proxy(table.rows) for table in tables}
    predictors["timm"], proxies["timm"] = fit_probes(joined(tables)), proxy(joined(tables))
    build_seconds = {table.space.name: round(table.build_seconds) for table in tables}
    rows = []
    for one, *times in zip(asked, *measurements, strict=True):
        expected = predict_layers(predictors[one.space], one.layers.layers)
        low, high = predictors[one.space].interval or (None, None)
        named = list(zip(MEASUREMENTS, times, strict=True))
        rows.append({
            "model": one.name, "space": one.space, **asdict(key), "resolution": one.resolution,
            "device": library.device(), "version": library.version(),
            "macs": one.layers.macs, "params": one.layers.params, "activations": one.layers.activations,
            "predicted_ms": milliseconds(expected),
            "predicted_low_ms": low and milliseconds(low * expected),
            "predicted_high_ms": high and milliseconds(high * expected),
            "proxy_ms": milliseconds(predict_layers(proxies[one.space], one.layers.layers)),
            **{f"{name}_ms": milliseconds(found.seconds) for name, (found, _) in named},
            **{f"{name}_median_ms": milliseconds(found.median) for name, (found, _) in named},
            **{f"{name}_reference_ms": milliseconds(level) for name, (_, level) in named},
            "table_build_seconds": build_seconds.get(one.space),
            "architecture": json.dumps(one.model.to_dict()) if isinstance(one.model, Architecture) else "",
        })  # fmt: skip
    return rows


def joined(tables: Sequence[Table]) -> list[Row]:
    """Return the rows of all tables, as if one anchor had run beside all of them: that of the first table."""
    usual = {table.space.name: usual_level(table.rows) for table in tables}
    first = usual[tables[0].space.name]
    return [
        replace(row, anchor=[level * first / usual[table.space.name] for level in row.anchor])
        for table in tables
        for row in table.rows
    ]


def proxy(rows: Sequence[Row]) -> ProxyPrediction:
    """Return the proxy fitted on the whole networks of a table."""
    whole = np.array([not row.short for row in rows])
    return fit_proxy_networks([row.architecture for row in rows if not row.short], probe_seconds(rows)[whole])


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print the accuracy of each group of rows."""
    for batch in sorted({row["batch"] for row in rows}):
        here = [row for row in rows if row["batch"] == batch]
        inside = [row for row in here if row["space"] != "timm"]
        groups = {"in the spaces": inside} | {
            name: [row for row in here if row["space"] == name] for name in dict.fromkeys(row["space"] for row in here)
        }
        for name, group in groups.items():
            print(f"{group[0]['backend']}, batch {batch}, {name}: {len(group)} networks")
            measured_ms = np.array([row["measured_ms"] for row in group])
            for what in ("predicted_ms", "proxy_ms", "before_ms", "again_ms"):
                figures = figures_of(np.array([row[what] for row in group]), measured_ms)
                told = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
                print(f"  {what.removesuffix('_ms'):>9}: {told}")


def figures_of(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return the accuracy, the root mean square error and the bias in percent, and how well the order is kept."""
    from scipy.stats import kendalltau, spearmanr

    errors = predicted / measured - 1
    return accuracy(errors) | {
        "RMSPE": 100 * float(np.sqrt(np.mean(errors**2))),
        "bias": 100 * float(np.mean(errors)),
        "Spearman": float(spearmanr(predicted, measured).statistic),
        "Kendall": float(kendalltau(predicted, measured).statistic),
    }


def milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 4)


if __name__ == "__main__":
    typer.run(main)
