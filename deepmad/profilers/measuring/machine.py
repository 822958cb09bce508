"""What else the machine was doing: load average, the time the hypervisor kept for others, the processor's clock."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MachineState:
    """Load average of the last minute, and processor ticks so far: stolen by the hypervisor, and all of them.

    `megahertz` is the mean clock of the cores, `cores` how many this process may use; None where the system does not
    tell.
    """

    load: float
    stolen_ticks: int
    ticks: int
    megahertz: float | None = None
    cores: int | None = None

    def stolen_share(self, later: "MachineState") -> float:
        """Return the share of the processor's time that was stolen between this state and a later one."""
        return (later.stolen_ticks - self.stolen_ticks) / max(1, later.ticks - self.ticks)


def machine_state() -> MachineState:
    """Return the state of this machine now; load and ticks that the system does not tell are 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    except OSError:
        return MachineState(load, 0, 0, cores=usable_cores())
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, first[:8])
    ticks = user + nice + system + idle + waiting + interrupts + soft_interrupts + stolen
    return MachineState(load, stolen, ticks, core_megahertz(), usable_cores())


def usable_cores() -> int | None:
    """Return how many cores this process may run on, None where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def core_megahertz(cpuinfo: Path = Path("/proc/cpuinfo")) -> float | None:
    """Return the mean clock of the cores now, None where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None
