"""Latency tables of as many probes as the time allows."""

import shutil
from dataclasses import replace
from pathlib import Path

import platformdirs

from benchmarks.conditions import write_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock
from benchmarks.gpu_results.steps import Step, probe_seconds
from deepmad.profilers.building.building import CHUNK, PROBE_TIMER, Progress, build_table
from deepmad.profilers.tables.tables import describe_tables, export_rows
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space

KEPT_BYTES = 2_000_000
"""A larger table file goes to the user's cache folder; its rows are in the CSV file all the same."""
CHUNK_SHARE = 0.8
"""The share of a piece that the probes that are stored together may take."""
SHORT_PER_WHOLE = 2


def build(options: Options, step: Step, clock: Clock) -> None:
    """Build the step's table in its time, or go on with it, and export its rows."""
    assert step.key is not None
    _check_time(options, step)
    path = options.output / f"{step.name}.sqlite"

    def note(_progress: Progress) -> None:
        clock.tick()

    build_table(
        load_space(options.space),
        path,
        **vars(step.key),
        networks=options.probes,
        short=SHORT_PER_WHOLE * options.probes,
        timer=replace(PROBE_TIMER, seconds=options.seconds),
        time_limit=step.seconds,
        isolated=step.apart,
        progress=note,
    )
    rows = [{name: value for name, value in row.items() if name != "times"} for row in export_rows(path)]
    (described,) = describe_tables(path)
    notes = {name: described[name] for name in ("held_out", "drift", "disturbed", "measured", "probes")}
    write_csv(options.output / f"{step.name}.csv", rows, notes)
    if path.stat().st_size > KEPT_BYTES:
        _cache(options).mkdir(parents=True, exist_ok=True)
        shutil.move(path, _cache(options) / path.name)


def table_path(options: Options, name: str) -> Path:
    """Return where a finished table is: among the results, or in the cache where it is large."""
    beside = options.output / f"{name}.sqlite"
    return beside if beside.is_file() else _cache(options) / f"{name}.sqlite"


def _cache(options: Options) -> Path:
    return platformdirs.user_cache_path("deepmad", appauthor=False) / "gpu_results" / options.output.name


def _check_time(options: Options, step: Step) -> None:
    """Raise `InputError` where the probes that are stored together take longer than a piece."""
    assert step.key is not None
    seconds = probe_seconds(options, step.key.backend)
    if (CHUNK + 1) * seconds > CHUNK_SHARE * options.piece_seconds:
        raise InputError(
            f"{step.name}: a probe takes {seconds:.0f} s here and {CHUNK} are stored at a time; "
            f"a piece of {options.piece_seconds:.0f} s is too short"
        )
