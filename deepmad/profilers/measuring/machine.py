"""What else the machine was doing: other processes, the time the hypervisor kept for others, the processor's state."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepmad.profilers.measuring.processor import Processor, processor
from deepmad.profilers.prediction.quantities import SPARE_LOAD, STOLEN_SHARE
from deepmad.tasks.cores import ROOT, usable_cores

CLOCK_DROP = 0.1
"""A measurement is doubtful after which the processor's clock is lower by more than this share."""
SHORTEST_SECONDS = 0.5
"""Over less, what other processes used cannot be told from the rounding of the system's clock: the load average counts.
"""


@dataclass(frozen=True)
class MachineState:
    """Load average of the last minute, and processor ticks so far: stolen by the hypervisor, and all of them.

    `megahertz` is the mean clock of the cores, `cores` how many this process may use. `busy_seconds` is what all
    processes have used of the cores, `own_seconds` what this one has, both at `clock_seconds`, which count from an
    arbitrary start. None where the system does not tell.
    """

    load: float
    stolen_ticks: int
    ticks: int
    megahertz: float | None = None
    cores: int | None = None
    processor: Processor = field(default_factory=Processor)
    busy_seconds: float | None = None
    own_seconds: float = 0.0
    clock_seconds: float = 0.0

    def stolen_share(self, later: "MachineState") -> float:
        """Return the share of the processor's time that was stolen between this state and a later one."""
        return (later.stolen_ticks - self.stolen_ticks) / max(1, later.ticks - self.ticks)

    def others(self, later: "MachineState") -> float | None:
        """Return how many cores other processes kept busy between this state and a later one.

        None where the system does not tell, or too little time lies between them.
        """
        seconds = later.clock_seconds - self.clock_seconds
        if self.busy_seconds is None or later.busy_seconds is None or seconds < SHORTEST_SECONDS:
            return None
        used = later.busy_seconds - self.busy_seconds - (later.own_seconds - self.own_seconds)
        return max(0.0, used / seconds)

    def doubts(self, later: "MachineState", threads: int, *, on_gpu: bool = False) -> dict[str, str]:
        """Return what spoils a number that `threads` threads, or a GPU, gave between this state and a later one.

        Each is a sentence, under a word for its kind.
        """
        return dict(self._doubts(later, threads, on_gpu=on_gpu))

    def _doubts(self, later: "MachineState", threads: int, *, on_gpu: bool) -> Iterator[tuple[str, str]]:
        if not on_gpu and self.cores is not None and threads > self.cores:
            told = f"{threads} threads share {self.cores} core(s) and wait for each other"
            yield "threads", f"{told}; take at most {self.cores} (--threads)"
        others, load = self.others(later), max(self.load, later.load)
        if others is not None and others > SPARE_LOAD:
            yield (
                "load",
                f"other processes kept {others:.1f} core(s) busy meanwhile, a load that slows it down; end them",
            )
        if others is None and load > threads + SPARE_LOAD:
            told = f"the load average was {load:.1f}, and the timing explains {threads}"
            yield "load", f"{told}; other processes were running"
        stolen = self.stolen_share(later)
        if stolen > STOLEN_SHARE:
            yield "stolen", f"the hypervisor kept {stolen:.1%} of the processor's time for others"
        first, last = self.megahertz, later.megahertz
        if first is not None and last is not None and last < (1 - CLOCK_DROP) * first:
            yield (
                "clock",
                f"the processor's clock fell from {first:.0f} to {last:.0f} MHz; let it cool or fix its clock",
            )
        crowded = self.cores is not None and threads > self.cores
        for kind, sentence in self.processor.doubts(later.processor, threads):
            if kind != "siblings" or not (on_gpu or crowded):
                yield kind, sentence

    def document(self, later: "MachineState") -> dict[str, Any]:
        """Return, as a JSON document, what the machine did between this state and a later one, and how it is set."""
        before, after = self.processor.throttles, later.processor.throttles
        return {
            "load_before": self.load,
            "load_after": later.load,
            "other_cores": self.others(later),
            "stolen_share": self.stolen_share(later),
            "megahertz_before": self.megahertz,
            "megahertz_after": later.megahertz,
            "cores": self.cores,
            **{name: value for name, value in asdict(later.processor).items() if name != "throttles"},
            "throttled": None if before is None or after is None else after - before,
        }


def machine_state(root: Path = ROOT) -> MachineState:
    """Return the state of this machine now; load and ticks that the system does not tell are 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores, own = usable_cores(root), (time.process_time(), time.monotonic())
    try:
        first = (root / "proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    except OSError:
        return MachineState(load, 0, 0, None, cores, processor(root), None, *own)
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, first[:8])
    busy = user + nice + system + interrupts + soft_interrupts
    ticks = busy + idle + waiting + stolen
    seconds = busy / os.sysconf("SC_CLK_TCK")
    clock = core_megahertz(root / "proc/cpuinfo")
    return MachineState(load, stolen, ticks, clock, cores, processor(root), seconds, *own)


def core_megahertz(cpuinfo: Path = Path("/proc/cpuinfo")) -> float | None:
    """Return the mean clock of the cores now, None where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None
