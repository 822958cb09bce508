"""The plan of a zoo: its steps in their order, and an estimate of the time that each takes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from deepmad.engine.answers.repeated import MEASUREMENTS, MOST_MEASUREMENTS
from deepmad.search_spaces.units import human
from deepmad.tasks import check_place
from deepmad.zoo.entries import WAVES
from deepmad.zoo.families import Need, load_family, needs
from deepmad.zoo.references import check_references
from deepmad.zoo.solving import crew_for
from deepmad.zoo.spec import Spec, Target, load_spec
from deepmad.zoo.verifying import PASSES

EARLY_SHARE = 0.25
"""The share of its time limit in which a solve may close its gap: the presets do within 12 to 28 s of 60."""
USUAL_ROUNDS = 2
"""Rounds of the measured loop that a target usually takes."""
AROUND_SECONDS = 4.0
"""What a measurement takes beside its own seconds: a new process, its imports, warming up."""
FILES_SECONDS = 5.0
"""What the files of a network take, ONNX Runtime's check included."""
GUESS = (
    "These times are guesses, the upper ones too: from the limits on time, and from what other runs took. A slow or "
    "busy machine takes longer."
)


@dataclass(frozen=True)
class Step:
    """A step and its seconds, at least and at most; None where a deterministic limit rules them."""

    what: str
    least: float | None
    most: float | None

    @property
    def duration(self) -> str:
        """Its time in words."""
        if self.least is None or self.most is None:
            return "unknown (deterministic limit)"
        if round(self.most / 60, 1) == round(self.least / 60, 1):
            return f"{self.most / 60:.1f} min"
        return f"{self.least / 60:.1f} to {self.most / 60:.1f} min"


@dataclass(frozen=True)
class Plan:
    """What a run would do in a new folder."""

    steps: tuple[Step, ...]
    entries: tuple[dict[str, Any], ...]

    @property
    def total(self) -> Step:
        """All steps together."""
        least, most = ([getattr(step, end) for step in self.steps] for end in ("least", "most"))
        unknown = None in most
        return Step("all", None if unknown else sum(least), None if unknown else sum(most))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a JSON document."""
        return {
            "steps": [asdict(step) for step in self.steps],
            "total": asdict(self.total),
            "entries": list(self.entries),
            "note": GUESS,
        }


def plan_zoo(path: str | Path, on: str = "local") -> Plan:
    """Return the plan of a spec file; nothing is written or measured.

    Raises `InputError` as `make_zoo` does, for tables that are there and do not serve, too.
    """
    file = load_spec(path)
    needed, spec = needs(file), file.spec
    check_place(on)
    check_references(file)
    for need in needed:
        if not need.missing:
            load_family(need, spec)
    entries = tuple(
        {"space": need.member.space.name, "device": need.device.name, "target": _target(target)}
        for need in needed
        for target in spec.targets
    )
    return Plan(tuple(_steps(spec, needed, on)), entries)


def _target(target: Target) -> str:
    if target.latency is not None:
        return human(target.latency, "seconds")
    return f"{target.throughput:g}/s" if target.throughput is not None else f"{target.relative:g} x"


def _steps(spec: Spec, needed: list[Need], on: str) -> Iterator[Step]:
    timed = [need for need in needed if spec.measures(need.device)]
    for path, need in {need.path: need for need in needed if need.missing}.items():
        assert need.device.build is not None, "only such tables are missing"
        most = 60 * need.device.build.minutes
        yield Step(f"measure the latency table {path}", EARLY_SHARE * most, most)
    if spec.relative:
        designs = len({(need.member.slug, need.wanted.get("precision"), need.wanted.get("batch")) for need in needed})
        yield _solves(spec, on, f"design {designs} network(s) without a target", [designs])
        if timed:
            yield _timings(spec, len(timed), f"time {len(timed)} of them, one at a time", again=False)
    count = len(spec.targets)
    waves = [len(needed) * ((count + WAVES - 1 - wave) // WAVES) for wave in range(WAVES)]
    yield _solves(spec, on, f"design {sum(waves)} networks, {waves[0]} and then {waves[1]} from those", waves)
    if timed:
        yield _verifications(spec, count * len(timed))
    models = sum(reference.model is not None for reference in spec.references)
    if models and timed:
        devices = len({need.device.name for need in timed})
        yield _timings(spec, models * devices, f"time {models} reference(s) on {devices} device(s)", again=False)
    files = FILES_SECONDS * count * len(needed)
    yield Step("write their files", files, files)


def _solves(spec: Spec, on: str, what: str, waves: list[int]) -> Step:
    """Return the step of so many solves, wave after wave; a cluster is taken to have a core for each."""
    crew = crew_for(spec.solver, on, max(waves))
    parallel = crew.parallel or max(waves)
    what += f"; {parallel} at a time on {crew.workers} core(s) each"
    if spec.solver.deterministic_limit is not None:
        return Step(what, None, None)
    most = spec.solver.time_limit * sum(ceil(solves / parallel) for solves in waves)
    return Step(what, EARLY_SHARE * most, most)


def _timings(spec: Spec, networks: int, what: str, *, again: bool) -> Step:
    """Return the step of timing networks until their times agree, and in some passes `again`.

    Where the design without a target takes turns with them, each takes twice as long.
    """
    one = spec.verify.seconds * (2 if spec.relative else 1) + AROUND_SECONDS
    more = PASSES if again else 0
    return Step(what, networks * one * (MEASUREMENTS + more), networks * one * (MOST_MEASUREMENTS + more))


def _verifications(spec: Spec, networks: int) -> Step:
    """Return the step of the measured loop for so many networks, one at a time, and of timing all once more."""
    what = f"time {networks} networks one at a time, each in up to {spec.verify.rounds} rounds, designed again between"
    what += f"; in the end all {PASSES} times more"
    if spec.solver.deterministic_limit is not None:
        return Step(what, None, None)
    times = _timings(spec, networks, what, again=True)
    assert times.least is not None
    assert times.most is not None
    again, most = USUAL_ROUNDS - 1, spec.verify.rounds - 1
    least = times.least + networks * again * EARLY_SHARE * spec.solver.time_limit
    return Step(what, least, times.most * (1 + most) + networks * most * spec.solver.time_limit)
