"""The steps of a run in the order of their worth, so that one that is cut off leaves the most useful part."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from benchmarks.conditions import read_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock, PieceOver
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.spaces import load_space


@dataclass(frozen=True)
class Step:
    """One step: what it does, the seconds it may take, the steps whose results it needs.

    `name` is also the name of its result file. `key` says what a measuring step measures with. `apart` asks a table for
    its probes in processes of their own.
    """

    name: str
    kind: str
    seconds: float
    key: Key | None = None
    needs: tuple[str, ...] = ()
    apart: bool = False


ACTS = {
    "conditions": ("machine", "write_conditions"),
    "backends": ("machine", "try_backends"),
    "table": ("tables", "build"),
    "accuracy": ("predictions", "test"),
    "designs": ("targets", "design_all"),
    "targets": ("targets", "measure_afresh"),
    "compare": ("comparison", "compare"),
}
"""What each kind of step does: a function and its file, which only the step's own process imports."""
CONDITIONS = Step("conditions", "conditions", 40)
BACKENDS = Step("backends", "backends", 180)
TABLE_SECONDS, ACCURACY_SECONDS, DESIGN_SECONDS, FRESH_SECONDS, COMPARE_SECONDS = 220.0, 220.0, 300.0, 50.0, 60.0
"""What steps get; the last two more where the back end takes long to prepare a network, for they time all at once."""
PASSES = 3
"""Fresh measurements of every designed network, interleaved with the others; the middle one counts."""


def plan(options: Options) -> Iterator[Step]:
    """Yield the steps in their order; what follows `BACKENDS` depends on the back ends that work."""
    yield CONDITIONS
    yield BACKENDS
    working = working_backends(options)
    if not working:
        return
    first, others = working[0], working[1:]
    large, *small = options.batches
    yield from _predicting(options, first, large)
    yield from _designing(options, first, large)
    for backend in working:
        seconds = max(COMPARE_SECONDS, len(options.models) * probe_seconds(options, backend))
        for batch in options.batches:
            key = _key(options, backend, batch)
            yield Step(f"networks-{conditions_name(key)}", "compare", seconds, key)
    for backend in others:
        yield from _predicting(options, backend, large)
    for batch in small:
        for backend in working:
            yield from _predicting(options, backend, batch)
    for backend in others:
        yield from _designing(options, backend, large)


def working_backends(options: Options) -> list[str]:
    """Return the back ends that passed their trial, in the order asked for."""
    path = options.output / f"{BACKENDS.name}.csv"
    return [row["backend"] for row in read_csv(path) if row["works"] == "True"] if path.is_file() else []


def probe_seconds(options: Options, backend: str) -> float:
    """Return what one whole network cost in the trial of a back end that works, its preparation included."""
    trials = read_csv(options.output / f"{BACKENDS.name}.csv")
    return next(float(row["seconds_per_probe"]) for row in trials if row["backend"] == backend)


def conditions_name(key: Key) -> str:
    """Return back end, precision and batch as file names tell them."""
    return f"{key.backend.replace(':', '-')}-{key.precision}-b{key.batch}"


def act(options: Options, step: Step, piece_ends: float, step_ends: float) -> bool:
    """Do one step; return whether it is done, False where it goes on in the next piece."""
    try:
        module, name = ACTS[step.kind]
        getattr(import_module(f"benchmarks.gpu_results.{module}"), name)(options, step, Clock(piece_ends, step_ends))
    except PieceOver:
        return False
    return True


def _predicting(options: Options, backend: str, batch: int) -> Iterator[Step]:
    """Yield a table and the test of its predictions."""
    key = _key(options, backend, batch)
    name = f"{load_space(options.space).name}-{conditions_name(key)}"
    yield Step(f"table-{name}", "table", TABLE_SECONDS, key)
    yield Step(f"accuracy-{name}", "accuracy", ACCURACY_SECONDS, key, (f"table-{name}",))


def _designing(options: Options, backend: str, batch: int) -> Iterator[Step]:
    """Yield the designs for throughput targets, and their fresh measurement in another process."""
    key = _key(options, backend, batch)
    name = f"{load_space(options.space).name}-{conditions_name(key)}"
    yield Step(f"designs-{name}", "designs", DESIGN_SECONDS, key, (f"table-{name}",))
    fresh = PASSES * (1 + len(options.factors)) * probe_seconds(options, backend)
    yield Step(f"targets-{name}", "targets", max(FRESH_SECONDS, fresh), key, (f"designs-{name}",))


def _key(options: Options, backend: str, batch: int) -> Key:
    return Key(backend, options.precision, batch, threads=1)
