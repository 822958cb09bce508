"""Building a latency table: plan a space's probes, time them as far as that has not been done, fit the predictor."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

from deepmad.profilers.backends import find_backend
from deepmad.profilers.building.chunks import Chunk, ProbeSettings, measure_chunk, measure_chunk_apart, settings_of
from deepmad.profilers.building.pace import Pace
from deepmad.profilers.building.planning import (
    CANDIDATES,
    MIN_ROWS,
    choose_networks,
    draw_candidates,
    essential,
    first_probes,
    in_order,
    round_size,
    slow_probes,
    still_improves,
)
from deepmad.profilers.building.probes import draw_probes, short_kinds
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.measuring.turns import places_of, turn
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.prediction.prediction import fit_probes, held_out_errors
from deepmad.profilers.prediction.rows import Row
from deepmad.profilers.tables.build_records import BuildRecords, BuildSettings, Planned
from deepmad.profilers.tables.table_files import Key, Series, TableFile, open_table, text
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space

PROBE_TIMER = Timer(seconds=0.6, min_repeats=10, warmup_seconds=0.03, max_warmup_seconds=0.3, stable=0.05, visits=10)
SHORT_SHARE = 0.25
"""A short probe gets this share of the seconds that a whole network gets."""
CHUNK = 12
"""Networks that are timed together, in turns."""
TIME_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class Progress:
    """How far a build is: probes measured or failed, of how many, and how long it takes.

    `again` are the measured ones that took too long and are measured once more. `seconds` is what this run has
    used, `seconds_left` is estimated from its pace (None before there is one). `within_10_percent` is the share of
    whole networks predicted so well from the other probes, as of the last round. `stored` are the architectures
    that have just been stored, as the file writes them. `doubts` are sentences on what spoiled the times of this turn.
    """

    done: int
    total: int
    failed: int = 0
    again: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    within_10_percent: float | None = None
    stored: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def build_table(
    space: Space,
    path: str | Path,
    *,
    backend: str = "onnxruntime",
    precision: str = "fp32",
    batch: int = 1,
    threads: int = 1,
    seed: int = 0,
    networks: int = 100,
    short: int = 200,
    timer: Timer = PROBE_TIMER,
    time_limit: float | None = TIME_LIMIT_SECONDS,
    retry_failed: bool = False,
    isolated: bool = False,
    progress: Callable[[Progress], None] | None = None,
    tell: Tell = untold,
) -> None:
    """Measure the probes of `space` into the table at `path` and fit its predictor.

    Probes that the file holds already are not measured again, so that an interrupted build goes on where it
    was; several builders of one file take turns. `networks` and `short` say how many whole networks and
    short ones are measured at the most: no new chunk is begun after `time_limit` seconds of work (all runs
    together), but for one short probe of every kind and a dozen whole networks. At the end those that took longer
    than their fit are measured once more, since other work only adds time. A probe that fails is
    recorded and left out, and measured again only with `retry_failed`. With `isolated` every chunk is
    measured in a process of its own, so that a crash costs one probe. Every chunk is a turn: it waits for other
    processes that measure on the same cores or GPU, and they for it; `tell` is told for whom.

    Raises `InputError` where the back end cannot be used, the file is no latency table, cannot be written or
    holds another space, seed, device or version under the same conditions; `DeviceError` where the back end
    fails on the network that all others run beside, or on every one.
    """
    path, key = Path(path), Key(backend, precision, batch, threads)
    library = find_backend(backend, precision)
    series = Series(key, library.device(), library.version(), space.name, seed, networks + short)
    with open_table(path, create=True) as file, ExitStack() as stack:
        with file.turn():  # a build that is refused leaves the file as it was
            file.add_series(series)
            _check_same(path, next(found for found in file.series() if found.key == key), series)
            records = BuildRecords(file, key)
            if retry_failed and records.settings() is not None:
                records.forget_failures()
            settings = records.settings() or _begin(file, records, space, series, networks, short)
            wanted = {"resolution": space.resolution, "networks": networks, "short": short}
            _check_settings(path, key, settings, wanted)
        if isolated:
            measure = partial(measure_chunk_apart, settings.anchor)
        else:
            anchor = library.prepare(settings.anchor, settings_of(settings.anchor, key))
            stack.callback(anchor.close)
            measure = partial(measure_chunk, library, anchor.run)
        pace, places = Pace(SHORT_SHARE), partial(turn, places_of([library.processor]), tell)
        _Builder(file, records, key, space, seed, settings, measure, timer, time_limit, progress, pace, places).run()
        _store_fit(file, key)


def _begin(
    file: TableFile, records: BuildRecords, space: Space, series: Series, networks: int, short: int
) -> BuildSettings:
    """Store the settings and the first plan of a series that has none; return the settings."""
    held = file.rows(series.key)
    if held:  # an older version measured them, and drew all its probes beforehand
        probes = draw_probes(space, series.seed, networks, short)
        finished = file.fit(series.key) is not None
        plan = [Planned(row.architecture, row.short, 0) for row in held] if finished else in_order(probes)
    else:
        probes = first_probes(space, series.seed, networks, short)
        plan = in_order(probes, len(short_kinds(space)))
    settings = BuildSettings(space.resolution, networks, short, probes.anchor, rounds=not held)
    records.begin(settings)
    records.add_plan(plan)
    return settings


@dataclass(frozen=True)
class _Builder:
    """What the turns of a build share."""

    file: TableFile
    records: BuildRecords
    key: Key
    space: Space
    seed: int
    settings: BuildSettings
    measure: Callable[[Sequence[Architecture], ProbeSettings], Chunk]
    timer: Timer
    time_limit: float | None
    progress: Callable[[Progress], None] | None
    pace: Pace
    turn: Callable[[], AbstractContextManager[str | None]]
    doubts: list[str] = field(default_factory=list)
    checked: set[Architecture] = field(default_factory=set)
    """The slow probes that this run has measured again, whatever came of it."""

    def run(self) -> None:
        """Take turns until all is done or the time is up: measure the plan, plan a round, measure slow probes again."""
        ended, within_10_percent = False, None
        while not ended:
            stored: tuple[str, ...] = ()
            slow = list[Row]()
            with self.turn() as unseen, self.file.turn():
                self.doubts.extend([] if unseen is None else [unseen])
                start = time.monotonic()
                planned = self.records.planned()
                chunk = self._next_chunk(planned)
                if self._out_of_time(chunk) and not set(chunk) & set(essential(planned)):
                    ended = True
                elif chunk:
                    stored = self._measure_chunk(chunk)
                else:
                    rows, planning = self.file.rows(self.key), time.monotonic()
                    within_10_percent = _within_10_percent(rows)
                    checking = any(len(row.visits) > self.timer.visits for row in rows)  # then rounds are over
                    if checking or not self._plan_round(planned, rows):
                        slow = self._slow(rows)
                        slow = [] if self._out_of_time(slow[:CHUNK]) else slow
                        ended = not slow
                        if slow:
                            self._check(slow)
                    else:
                        share = len(self._slow(rows)) / max(1, len(rows))
                        self.pace.planned(time.monotonic() - planning, share)
                self.records.add_seconds(time.monotonic() - start)
            self._tell(stored, within_10_percent, slow, ended=ended)

    def _out_of_time(self, chunk: Sequence[Planned | Row]) -> bool:
        """Return whether the time is up, or will be before these probes are measured at the pace so far."""
        if self.time_limit is None:
            return False
        short = sum(item.short for item in chunk)
        expected = self.pace.seconds_left(len(chunk) - short, short) or 0.0
        return self.records.seconds() + expected >= self.time_limit

    def _pending(self, planned: Sequence[Planned]) -> list[Planned]:
        """Return what the plan asks for and is neither measured nor failed."""
        settled = self.file.done(self.key) | {text(failed.architecture) for failed in self.records.failures()}
        return [item for item in planned if text(item.architecture) not in settled]

    def _next_chunk(self, planned: Sequence[Planned]) -> list[Planned]:
        """Return the first pending probes of one kind; none where all are settled."""
        pending = self._pending(planned)
        return list(takewhile(lambda item: item.short == pending[0].short, pending[:CHUNK]))

    def _measure_chunk(self, planned: Sequence[Planned]) -> tuple[str, ...]:
        """Measure and store some probes of one kind; return the architectures of those that have a time."""
        chunk = self._timed([item.architecture for item in planned], short=planned[0].short)
        for row in chunk.rows:
            self.file.add(self.key, row)
        for failed in chunk.failures:
            self.records.add_failure(failed)
        return tuple(text(row.architecture) for row in chunk.rows)

    def _timed(self, networks: Sequence[Architecture], *, short: bool) -> Chunk:
        """Return the times of some networks of one kind; keep the pace, and what the GPU did."""
        start = time.monotonic()
        timer = replace(self.timer, seconds=self.timer.seconds * SHORT_SHARE) if short else self.timer
        chunk = self.measure(networks, ProbeSettings(self.key, short, timer))
        if chunk.gpu is not None:
            self.records.add_gpu_summary(chunk.rows[0].date, chunk.gpu)
            self.doubts.extend(chunk.gpu["warnings"])
        if chunk.machine is not None:
            self.records.add_machine_summary(chunk.rows[0].date, chunk.machine)
            self.doubts.extend(chunk.machine["warnings"])
        self.pace.add(len(networks), time.monotonic() - start, short=short)
        return chunk

    def _slow(self, rows: Sequence[Row]) -> list[Row]:
        """Return the measured probes to measure once more, worst first; none for a table of an older version."""
        slow = slow_probes(rows, self.timer.visits) if self.settings.rounds else []
        return [row for row in slow if row.architecture not in self.checked]

    def _check(self, slow: Sequence[Row]) -> None:
        """Measure the worst of the slow probes once more, those of its kind only, and store all their visits."""
        short = slow[0].short
        known = {row.architecture: row for row in [row for row in slow if row.short == short][:CHUNK]}
        self.checked.update(known)
        for row in self._timed(list(known), short=short).rows:
            first = known[row.architecture]
            self.file.put(self.key, replace(row, visits=first.visits + row.visits, anchor=first.anchor + row.anchor))

    def _plan_round(self, planned: Sequence[Planned], rows: Sequence[Row]) -> bool:
        """Store the plan of another round; return whether there is one."""
        wanted = min(round_size(self.settings.networks), self._to_choose(planned))
        if wanted <= 0 or not still_improves(rows, planned):
            return False
        number, known = planned[-1].round + 1, {item.architecture for item in planned}
        drawn = draw_candidates(self.space, self.seed, number, CANDIDATES * wanted)
        chosen = choose_networks(rows, [network for network in drawn if network not in known], wanted)
        self.records.add_plan([Planned(network, False, number) for network in chosen])
        return bool(chosen)

    def _to_choose(self, planned: Sequence[Planned]) -> int:
        """Return how many whole networks later rounds may choose."""
        return self.settings.networks - sum(not item.short for item in planned) if self.settings.rounds else 0

    def _tell(
        self, stored: tuple[str, ...], within_10_percent: float | None, slow: Sequence[Row], *, ended: bool
    ) -> None:
        if self.progress is None:
            return
        planned = self.records.planned()
        pending, failed = self._pending(planned), len(self.records.failures())
        done = len(planned) - len(pending)
        short = sum(item.short for item in pending)
        whole = len(pending) - short + (0 if slow else self._to_choose(planned))  # rounds are over by then
        if slow:
            slow_short = sum(row.short for row in slow)
            left = self.pace.seconds_left(whole + len(slow) - slow_short, short + slow_short)
        else:
            to_plan = -(-self._to_choose(planned) // round_size(self.settings.networks))
            all_short = sum(item.short for item in planned)
            probes = (len(planned) - all_short + self._to_choose(planned), all_short)
            left = self.pace.seconds_to_end(whole, short, to_plan, probes)
        if left is not None and self.time_limit is not None:
            left = max(0.0, min(left, self.time_limit - self.records.seconds()))
        total, left = (done, 0.0) if ended else (done + whole + short, left)
        so_far, again = self.pace.seconds_so_far, len(slow)
        doubts = tuple(self.doubts)
        self.doubts.clear()
        self.progress(Progress(done, total, failed, again, so_far, left, within_10_percent, stored, doubts))


def _within_10_percent(rows: Sequence[Row]) -> float | None:
    """Return the share of whole networks predicted within 10 % from other probes, None where they are too few."""
    if sum(not row.short for row in rows) < MIN_ROWS:
        return None
    return accuracy(held_out_errors(rows))["within_10_percent"]


def _store_fit(file: TableFile, key: Key) -> None:
    rows = file.rows(key)
    if not rows:
        failed = BuildRecords(file, key).failures()
        raise DeviceError(f"{key}: all {len(failed)} probes failed, the first because: {failed[0].reason}")
    file.store_fit(key, fit_probes(rows).to_dict())


def _check_settings(path: Path, key: Key, held: BuildSettings, wanted: dict[str, int]) -> None:
    """Raise `InputError` where the file's build of this key was asked for something else."""
    for name, value in wanted.items():
        if (found := getattr(held, name)) != value:
            raise InputError(f"{path}: holds {key} with {name} {found}, not {value}; choose another file with -o")


def _check_same(path: Path, held: Series, wanted: Series) -> None:
    """Raise `InputError` where the file's series of this key is not the one that is to be built."""
    for name in ("space", "seed", "device", "version"):
        if getattr(held, name) != getattr(wanted, name):
            raise InputError(
                f"{path}: holds {held.key} with {name} {getattr(held, name)}, not {getattr(wanted, name)}; "
                f"choose another file with -o"
            )
