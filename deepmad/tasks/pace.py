"""How slow this thread runs beside other work on the machine: what takes a second alone takes so many seconds."""

from pathlib import Path

SCHEDULE = Path("/proc/thread-self/schedstat")
"""Where Linux tells how long a thread has run, and how long it was ready to run and waited, in nanoseconds."""


def slowness(schedule: Path = SCHEDULE) -> float:
    """Return the seconds of the clock that a second of this thread's work took so far; 1 where nothing is told."""
    try:
        ran, waited = map(int, schedule.read_text(encoding="ascii").split()[:2])
        return 1 + waited / ran
    except (OSError, ValueError, ZeroDivisionError):
        return 1.0
