"""Entries: the networks that a zoo is asked for, one a target, by the names that their files get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.errors import InputError
from deepmad.zoo.families import Family
from deepmad.zoo.spec import Spec, Target

WAVES = 2


@dataclass(frozen=True, eq=False)
class Entry:
    """One network to be designed: of a family, within `seconds` for one batch.

    `place` counts the entries of a family from the loosest target on.
    """

    name: str
    family: Family
    target: Target
    seconds: float
    place: int

    @property
    def throughput(self) -> float:
        """The target in images a second."""
        return self.family.table.batch / self.seconds

    @property
    def wave(self) -> int:
        """When it is solved: every other target of a family in the first wave, those between their networks then."""
        return self.place % WAVES

    def problem(self, spec: Spec) -> Problem:
        """Return its problem, with the target as the limit on latency."""
        return self.family.problem(spec, self.seconds)


def entries_of(spec: Spec, families: Sequence[Family], throughputs: Mapping[str, float]) -> list[Entry]:
    """Return the entries family by family, in each the loosest target first.

    `throughputs` are those of the designs without a target, by the families' names; a family that has none has no entry
    for a relative target. Targets that agree to four digits are one. Raises `InputError` where entries of two families
    would have one name.
    """
    found: dict[str, Entry] = {}
    for family in families:
        reached = throughputs.get(family.name)
        asked = {
            _name(family, seconds): (target, seconds)
            for target in reversed(spec.targets)
            if target.relative is None or reached is not None
            for seconds in [target.seconds(family.table.batch, reached)]
        }
        ranked = sorted(asked.items(), key=lambda item: item[1][1], reverse=True)
        for place, (name, (target, seconds)) in enumerate(ranked):
            if name in found:
                raise InputError(f"devices: two families have a network called {name}; rename a device")
            found[name] = Entry(name, family, target, seconds, place)
    return list(found.values())


def _name(family: Family, seconds: float) -> str:
    """Return what the files of an entry are called: a name that Python can import, without dots."""
    what = family.key
    target = format(Decimal(f"{1e3 * seconds:.4g}"), "f").replace(".", "p")
    return f"deepmad_{family.name}_{what.precision}_b{what.batch}_{target}ms"
