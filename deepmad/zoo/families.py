"""Families: one space on one device, with the latency table that predicts for it."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deepmad.engine.program.budgets import Budget, usual_rho
from deepmad.engine.program.problems import Problem
from deepmad.profilers.backends import find_backend
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.profilers.tables.own_tables import default_table
from deepmad.profilers.tables.table_files import Key, open_table
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.coarsening import coarsened
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space, load_space, presets
from deepmad.zoo.spec import Device, SolverSettings, Spec, SpecFile

if TYPE_CHECKING:
    from deepmad.profilers.building.building import Progress


T = TypeVar("T")
LONGEST_NAME = 160
"""Letters of a family's name: those of its networks' files, of 255 bytes at most, tell more than that."""


@dataclass(frozen=True)
class Member:
    """A space: its `name` in the spec, the `argument` that is loaded, and as its networks are designed.

    That is with the channels, the classes and the resolution that the spec asks for.
    """

    name: str
    argument: str
    space: Space

    @property
    def slug(self) -> str:
        """The space's name as files have it."""
        return re.sub(r"[^a-z0-9]+", "_", self.space.name.lower()).strip("_")


@dataclass(frozen=True)
class Need:
    """What a family needs: its table's file, the conditions asked of it, and whether it has to be measured first."""

    member: Member
    device: Device
    path: Path
    wanted: dict[str, Any]
    missing: bool

    @property
    def name(self) -> str:
        """The family's name."""
        return f"{self.member.slug}_{self.device.name}"


@dataclass(frozen=True)
class Family:
    """A space on a device: its table, with a digest of what it predicts by, and whether networks are timed on it."""

    need: Need
    table: LatencyTable
    digest: str
    measured: bool

    @property
    def name(self) -> str:
        """The family's name."""
        return self.need.name

    @property
    def space(self) -> Space:
        """The space that its networks are of."""
        return self.need.member.space

    @property
    def device(self) -> Device:
        """The device as the spec has it."""
        return self.need.device

    @property
    def key(self) -> Key:
        """The conditions that the table holds for."""
        return Key(self.table.backend, self.table.precision, self.table.batch, self.table.threads)

    def problem(self, spec: Spec, seconds: float | None = None) -> Problem:
        """Return the problem of a network of the family, within `seconds` for one batch where there is a target."""
        limits, own = spec.limits, self.space.limits
        budget = Budget(
            macs=_limit(limits.macs, own.macs),
            params=_limit(limits.params, own.params),
            rho=usual_rho(self.space) if limits.rho == "auto" else _limit(limits.rho, own.rho),
            activations=_limit(limits.activations, own.activations),
            latency=seconds,
            memory=limits.memory,
        )
        return Problem(self.space, budget, self.table, spec.solver.objective)


def _limit(asked: T | str, own: T) -> T:
    """Return a limit as the spec asks for it; `space` stands for the space's own."""
    return own if isinstance(asked, str) else asked


def members(file: SpecFile) -> list[Member]:
    """Return the spaces of a spec. Raises `InputError` where one cannot be read, or two have one name."""
    found: list[Member] = []
    for name in file.spec.spaces:
        argument = name if name in presets() else str(file.place(name))
        found.append(Member(name, argument, _as_asked(load_space(argument), file.spec.solver)))
        if [member.slug for member in found].count(found[-1].slug) > 1:
            called = found[-1].space.name
            raise InputError(f"{file.path}: spaces: two are called {called}; leave one out, or rename it in its file")
    return found


def _as_asked(space: Space, settings: SolverSettings) -> Space:
    """Return a space with the channels, the weights, the classes and the resolution that a spec asks for."""
    if settings.multiple is not None:
        space = coarsened(space, settings.multiple)
    classes = space.classes if settings.classes is None else settings.classes
    space = space.reweighted(alpha=settings.alpha)
    return replace(space, classes=classes, resolution=settings.resolution or space.resolution)


def needs(file: SpecFile) -> list[Need]:
    """Return what every space on every device needs, in the spec's order.

    Raises `InputError` where a table is missing and may not be measured, or cannot be for want of a back end, and where
    two families would have one name.
    """
    spaces = members(file)
    found = [_need(file, member, device) for member in spaces for device in file.spec.devices]
    names = [need.name for need in found]
    for name in names:
        if len(name) > LONGEST_NAME:
            raise InputError(
                f"{file.path}: the name of space and device, {name[:40]}..., has {len(name)} letters, and files are "
                f"named after it; {LONGEST_NAME} at most: rename one in its file"
            )
        if names.count(name) > 1:
            raise InputError(f"{file.path}: devices: two of them, each with a space, are called {name}; rename one")
    for need in found:
        if need.device.build is not None and need.device.table is not None and len(spaces) > 1:
            raise InputError(
                f"{file.path}: device {need.device.name}: {need.path} cannot hold tables of {len(spaces)} spaces "
                "under the same conditions; leave table out"
            )
    return found


def _need(file: SpecFile, member: Member, device: Device) -> Need:
    """Return what one space on one device needs."""
    given = {name: getattr(device, name) for name in ("backend", "precision", "batch", "threads")}
    wanted = {name: value for name, value in given.items() if value is not None}
    if device.table is not None and device.build is None:
        return Need(member, device, file.place(device.table), wanted, missing=False)
    standard: dict[str, Any] = {"backend": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1}
    key = Key(**(standard | wanted))
    own = default_table(member.space.name, member.space.resolution, **asdict(key))
    path = own if device.table is None else file.place(device.table)
    if missing := not finished(path, key):
        if device.build is None:
            raise InputError(
                f"{file.path}: device {device.name}: no latency table of this machine for {member.space.name} with "
                f"{key}; give the device build: {{minutes: 10}}, or run deepmad table build {member.argument} "
                f"{key.options()} --resolution {member.space.resolution}"
            )
        find_backend(key.backend, key.precision)
    return Need(member, device, path, asdict(key), missing)


def finished(path: Path, key: Key) -> bool:
    """Whether a file holds a whole table of these conditions."""
    if not path.exists():
        return False
    with open_table(path) as file:
        return any(series.key == key for series in file.series()) and file.fit(key) is not None


def build(need: Need, spec: Spec, progress: "Callable[[Progress], None] | None" = None, tell: Tell = untold) -> None:
    """Measure the table that a family lacks, or go on with it; another family may have done so meanwhile.

    `progress` is told how far it is, `tell` for whom it waits. Raises what `build_table` raises.
    """
    from deepmad.profilers.building.building import build_table
    from deepmad.profilers.building.probes import at_resolution

    if finished(need.path, Key(**need.wanted)):
        return
    space = load_space(need.member.argument)  # all of its channels: the table serves other designs too
    if spec.solver.resolution is not None:
        space = at_resolution(space, spec.solver.resolution)
    assert need.device.build is not None, "only such tables are missing"
    limit = 60 * need.device.build.minutes
    build_table(space, need.path, **need.wanted, time_limit=limit, progress=progress, tell=tell)


def load_family(need: Need, spec: Spec) -> Family:
    """Return the family of a table that is there.

    Raises `InputError` where the table does not fit, or networks are to be timed on a device that is not at hand.
    """
    table = LatencyTable.load(need.path, **need.wanted)
    measured = spec.measures(need.device)
    if measured:
        try:
            find_backend(table.backend, table.precision)
        except InputError as error:
            raise InputError(
                f"device {need.device.name}: networks cannot be timed on it here ({error}); give it measure: false"
            ) from error
    family = Family(need, table, "", measured)
    with open_table(need.path) as file:
        fit = json.dumps(file.fit(family.key), sort_keys=True)
    return Family(need, table, hashlib.sha256(fit.encode()).hexdigest(), measured)


def free_step(family: Family) -> str:
    """Return the step of the design without a target: families that differ in their latency alone share it."""
    return f"free-{family.need.member.slug}-{family.key.precision}-b{family.key.batch}"
