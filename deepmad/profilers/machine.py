"""What else the machine was doing: the load average and the time the hypervisor kept for others."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MachineState:
    """Load average of the last minute, and processor ticks so far: stolen by the hypervisor, and all of them."""

    load: float
    stolen_ticks: int
    ticks: int

    def stolen_share(self, later: "MachineState") -> float:
        """Return the share of the processor's time that was stolen between this state and a later one."""
        return (later.stolen_ticks - self.stolen_ticks) / max(1, later.ticks - self.ticks)


def machine_state() -> MachineState:
    """Return the state of this machine now; what the system does not tell is 0."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    except OSError:
        return MachineState(load, 0, 0)
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, first[:8])
    return MachineState(load, stolen, user + nice + system + idle + waiting + interrupts + soft_interrupts + stolen)
