"""How the processor is set and fed, as Linux shows it: governor, turbo, battery, throttling, threads of one core."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deepmad.tasks.cores import ROOT, allowed_cores

BEST_GOVERNOR = "performance"
_TURBOS = (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1"))
"""Files that show whether clocks may rise above the nominal one, and what they hold if so."""
_MAINS = ("Mains", "USB")


@dataclass(frozen=True)
class Processor:
    """The cores that this process may use; None, or nothing, where the system does not show it.

    `governors` are those that choose their clocks, each once. `turbo` says whether clocks may rise above the nominal
    one. `throttles` counts how often heat has slowed the cores since the system started. `physical_cores` is how many
    cores they are, two threads (SMT) of one counted as one.
    """

    governors: tuple[str, ...] = ()
    turbo: bool | None = None
    on_battery: bool | None = None
    throttles: int | None = None
    physical_cores: int | None = None

    def doubts(self, later: "Processor", threads: int) -> Iterator[tuple[str, str]]:
        """Yield what spoils a number that `threads` threads gave between this state and a later one.

        Each is a word for its kind, and a sentence.
        """
        slow = sorted({*self.governors, *later.governors} - {BEST_GOVERNOR})
        if slow:
            told = f"the governor {', '.join(slow)} sets the processor's clock, not {BEST_GOVERNOR}"
            yield "governor", f"{told}; sudo cpupower frequency-set -g {BEST_GOVERNOR}"
        if self.on_battery or later.on_battery:
            yield "battery", "the machine runs on its battery, which holds clocks down; plug it in"
        if self.throttles is not None and later.throttles is not None and later.throttles > self.throttles:
            times = later.throttles - self.throttles
            yield "throttled", f"heat slowed the processor down {times} time(s) meanwhile; let it cool"
        if None not in (self.turbo, later.turbo) and self.turbo != later.turbo:
            way = "on" if later.turbo else "off"
            yield "turbo", f"turbo was switched {way} meanwhile; measure again"
        if self.physical_cores is not None and threads > self.physical_cores:
            told = f"{threads} threads share {self.physical_cores} physical core(s), as threads (SMT) of them"
            yield "siblings", f"{told}; take at most {self.physical_cores} (--threads)"

    @property
    def words(self) -> tuple[str, ...]:
        """What there is to say of the settings, in a few words each."""
        turbo = () if self.turbo is None else (f"turbo {'on' if self.turbo else 'off'}",)
        governor = (f"governor {', '.join(self.governors)}",) if self.governors else ()
        battery = ("on battery",) if self.on_battery else ()
        physical = () if self.physical_cores is None else (f"{self.physical_cores} physical core(s)",)
        return governor + turbo + battery + physical


def processor(root: Path = ROOT) -> Processor:
    """Return the state of the cores that this process may use now."""
    folder, cores = root / "sys/devices/system/cpu", sorted(allowed_cores())
    governors = {_word(folder / f"cpu{core}/cpufreq/scaling_governor") for core in cores} - {None}
    siblings = {_word(folder / f"cpu{core}/topology/thread_siblings_list") for core in cores}
    return Processor(
        tuple(sorted(filter(None, governors))),
        _turbo(folder),
        _on_battery(root / "sys/class/power_supply"),
        _throttles(folder / f"cpu{core}/thermal_throttle" for core in cores),
        None if None in siblings else len(siblings),
    )


def _word(path: Path) -> str | None:
    """Return what a file holds; None where it cannot be read or holds nothing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _turbo(folder: Path) -> bool | None:
    found = ((_word(folder / name), on) for name, on in _TURBOS)
    return next((word == on for word, on in found if word is not None), None)


def _on_battery(supplies: Path) -> bool | None:
    """Return whether a battery feeds the machine; those of mice and the like do not count."""
    try:
        found = [supply for supply in sorted(supplies.iterdir()) if _word(supply / "scope") != "Device"]
    except OSError:
        return None
    batteries = [_word(supply / "status") for supply in found if _word(supply / "type") == "Battery"]
    mains = [_word(supply / "online") for supply in found if _word(supply / "type") in _MAINS]
    if not batteries:
        return False if mains else None
    return "Discharging" in batteries and "1" not in mains


def _throttles(folders: Iterable[Path]) -> int | None:
    """Return how often the cores, and what holds them, were slowed; of the second the most that any core tells."""
    own, shared = [], []
    for folder in folders:
        core, package = (_word(folder / f"{name}_throttle_count") for name in ("core", "package"))
        own += [int(core)] if core and core.isdecimal() else []
        shared += [int(package)] if package and package.isdecimal() else []
    return sum(own) + max(shared, default=0) if own or shared else None
