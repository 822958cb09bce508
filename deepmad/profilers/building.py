"""Building a latency table: time a space's probes, as far as that has not been done, and fit the predictor."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from deepmad.profilers.backends import Backend, Settings, find_backend
from deepmad.profilers.machine import machine_state
from deepmad.profilers.prediction import fit_probes
from deepmad.profilers.probes import Probes, draw_probes
from deepmad.profilers.table_files import Key, Row, Series, TableFile, open_table, text
from deepmad.profilers.timing import Timer, undisturbed
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space

PROBE_TIMER = Timer(seconds=0.36, min_repeats=6, warmup_seconds=0.03, max_warmup_seconds=0.5, stable=0.05, visits=6)
SHORT_SHARE = 0.25
"""A short probe gets this share of the seconds that a whole network gets."""
CHUNK = 12
"""Networks that are timed together, in turns."""


@dataclass(frozen=True)
class Progress:
    """How far a build is: probes measured, of how many."""

    done: int
    total: int


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
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Measure the probes of `space` into the table at `path` and fit its predictor.

    Probes that the file holds already are not measured again, so that an interrupted build goes on where it
    was; several builders of one file take turns. `networks` and `short` say how many whole networks and
    short ones are measured. Raises `InputError` where the back end cannot be used, or the file is no latency
    table or holds another space, seed, device or version under the same conditions; `DeviceError` where the
    back end fails.
    """
    path, key = Path(path), Key(backend, precision, batch, threads)
    library = find_backend(backend, precision)
    probes = draw_probes(space, seed, networks, short)
    series = Series(key, library.device(), library.version(), space.name, seed, probes.count)
    with open_table(path, create=True) as file:
        file.add_series(series)
        _check_same(path, next(found for found in file.series() if found.key == key), series)
        with ExitStack() as stack:
            anchor = library.prepare(probes.anchor, _settings(probes.anchor, key))
            stack.callback(anchor.close)
            builder = _Builder(file, key, library, anchor.run, probes, timer, progress)
            builder.measure(probes.networks, short=False)
            builder.measure(probes.short, short=True)
        file.store_fit(key, fit_probes(file.rows(key)).to_dict())


@dataclass(frozen=True)
class _Builder:
    """What the rounds of a build share."""

    file: TableFile
    key: Key
    library: Backend
    anchor: Callable[[], object]
    probes: Probes
    timer: Timer
    progress: Callable[[Progress], None] | None

    def measure(self, networks: Sequence[Architecture], *, short: bool) -> None:
        """Measure those that the file does not hold, a chunk a turn."""
        while True:
            with self.file.turn():
                done = self.file.done(self.key)
                pending = [network for network in networks if text(network) not in done][:CHUNK]
                for row in self._rows(pending, short) if pending else ():
                    self.file.add(self.key, row)
            if self.progress is not None:
                self.progress(Progress(len(done) + len(pending), self.probes.count))
            if not pending:
                return

    def _rows(self, networks: Sequence[Architecture], short: bool) -> list[Row]:
        """Time the networks and the anchor in turns."""
        timer = replace(self.timer, seconds=self.timer.seconds * SHORT_SHARE) if short else self.timer
        with ExitStack() as stack:
            runs = [self.anchor]
            for network in networks:
                runnable = self.library.prepare(network, _settings(network, self.key))
                stack.callback(runnable.close)
                runs.append(runnable.run)
            before = machine_state()
            anchor, *visits = timer.visit_all(runs)
            after = machine_state()
        levels = [undisturbed(visit) for visit in anchor]
        date = datetime.now(UTC).isoformat(timespec="seconds")
        machine = (before.load, after.load, before.stolen_share(after))
        return [
            Row(network, short, found, levels, date, *machine) for network, found in zip(networks, visits, strict=True)
        ]


def _settings(network: Architecture, key: Key) -> Settings:
    return Settings(key.batch, key.precision, key.threads, network.in_channels, network.resolution)


def _check_same(path: Path, held: Series, wanted: Series) -> None:
    """Raise `InputError` where the file's series of this key is not the one that is to be built."""
    for name in ("space", "seed", "probes", "device", "version"):
        if getattr(held, name) != getattr(wanted, name):
            raise InputError(
                f"{path}: holds {held.key} with {name} {getattr(held, name)}, not {getattr(wanted, name)}; "
                f"choose another file with -o"
            )
