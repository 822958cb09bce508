"""`deepmad presets`, and what `deepmad show` tells of a space: its stages, rules and limits."""

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from deepmad.cli.options import Json
from deepmad.cli.output import emit_json, out
from deepmad.cli.render import plain_table
from deepmad.search_spaces.units import AtLeast, human

if TYPE_CHECKING:
    from rich.console import Console

    from deepmad.search_spaces.spaces import Space


def presets(json: Json = False) -> None:
    """List the spaces that come with deepmad.

    Example: deepmad presets
    """
    from deepmad.search_spaces.spaces import load_space
    from deepmad.search_spaces.spaces import presets as names

    spaces = [load_space(name) for name in names()]
    if json:
        emit_json([space_document(space) for space in spaces])
        return
    limits = ("macs", "params", "rho")
    rows = [
        [space.name, str(len(space.stages)), _kinds(space), str(space.resolution), str(space.classes),
         *(_limit(name, getattr(space.limits, name)) for name in limits), f"{space.size():.0e}"]
        for space in spaces
    ]  # fmt: skip
    columns = ("preset", "stages", "blocks", "input", "classes", "MACs", "params", "rho", "networks")
    console = out()
    console.print(plain_table(columns, rows))
    console.print()
    for space in spaces:
        console.print(f"{space.name}: {space.description}")
    console.print()
    console.print(f"deepmad show {spaces[0].name} tells what each stage offers; deepmad design takes a preset's name")


def space_document(space: "Space") -> dict[str, Any]:
    """Return a space with every choice written out, as JSON: `limits` and `alpha` as numbers, and its `size`."""
    document = asdict(space) | {"size": space.size()}
    document["limits"] = {
        name: str(value) if isinstance(value, AtLeast) else value
        for name in document["limits"]
        for value in [getattr(space.limits, name)]
    }
    if space.rules.width_ratio.max == float("inf"):
        document["rules"]["width_ratio"]["max"] = None
    return document


def space_report(space: "Space", console: "Console") -> None:
    """Print what a space offers: a row a stage, then its rules, its limits and the weights of its objective."""
    from deepmad.search_spaces.spaces import networks_told

    rows = [["stem", "", _numbers(space.stem.out), "", str(space.stem.kernel), "1", str(space.stem.stride)]]
    rows += [
        [
            str(index),
            " or ".join(stage.block),
            _numbers(stage.out),
            _numbers(stage.width) if stage.width is not None else f"{_numbers(stage.expansion or ())} x out",
            _numbers(stage.kernel),
            _numbers(stage.depth),
            _numbers(stage.strides),
        ]
        for index, stage in enumerate(space.stages)
    ]
    if space.tail is not None:
        rows.append(["tail", "", str(space.tail.out), "", str(space.tail.kernel), "1", "1"])
    console.print(plain_table(("stage", "block", "out", "width", "kernel", "depth", "stride"), rows))
    console.print()
    about = "" if space.description is None else f"{space.description} "
    console.print(
        f"{space.name}: {about}Input {space.resolution}, {space.classes} classes, "
        f"{networks_told(space.size())} before the rules."
    )
    console.print(f"rules: {'; '.join(_rules(space)) or 'none'}")
    console.print(f"limits unless a design asks for others: {', '.join(_limits(space)) or 'none'}")
    alpha = "1, ..., 1, 8" if space.alpha is None else ", ".join(f"{weight:g}" for weight in space.alpha)
    console.print(f"objective: alpha {alpha}, beta {space.beta:g}")


def _kinds(space: "Space") -> str:
    return ", ".join(dict.fromkeys(kind for stage in space.stages for kind in stage.block))


def _numbers(values: tuple[float, ...]) -> str:
    """Return a choice in short: `8 to 2048 step 8`, or its values."""
    steps = {after - before for before, after in pairwise(values)}
    if len(values) > 3 and len(steps) == 1:
        step = steps.pop()
        return f"{values[0]:g} to {values[-1]:g}" + (f" step {step:g}" if step != 1 else "")
    shown = [f"{value:g}" for value in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:6], "...", shown[-1]])


def _rules(space: "Space") -> list[str]:
    rules, ratio = space.rules, space.rules.width_ratio
    found = ["out never falls from a stage to the next"] if rules.non_decreasing else []
    found += [] if rules.growth is None else [f"out is at most {rules.growth:g} times the one before"]
    if (ratio.min, ratio.max) != (0.0, float("inf")) and any(stage.width is not None for stage in space.stages):
        found.append(f"width is {ratio.min:g} to {ratio.max:g} times out")
    return found


def _limits(space: "Space") -> list[str]:
    limits = {name: getattr(space.limits, name) for name in ("macs", "params", "rho", "activations")}
    return [f"{name} {_limit(name, value)}" for name, value in limits.items() if value is not None]


def _limit(name: str, value: float | AtLeast | None) -> str:
    """Return a limit as people write it."""
    if value is None:
        return "-"
    number, sign = (value.value, ">= ") if isinstance(value, AtLeast) else (value, "")
    return sign + human(number, "number" if name == "rho" else "count")
