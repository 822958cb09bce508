"""Coarser channels: a space with only those widths that the hardware likes, or with a few of all sizes."""

from collections.abc import Iterable
from dataclasses import replace

from deepmad.search_spaces.choices import StageSpace
from deepmad.search_spaces.consistency import check_rules
from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.spaces import Space

STEP = 8
"""Channels are counted in multiples of this everywhere else."""


def coarsened(space: Space, multiple: int) -> Space:
    """Return the part of `space` whose widths are multiples of `multiple`, a positive multiple of 8.

    Every choice of `out` and `width` keeps its multiples, and widths that follow by expansion are rounded to
    multiples. What is fixed stays as it is, the tail too. A stem narrower than `multiple` keeps the multiples of
    its largest width. Raises `InputError` for another number, or naming what holds no multiple, or what the
    space's rules leave nothing of.
    """
    if not isinstance(multiple, int) or multiple < STEP or multiple % STEP:
        raise InputError(f"multiple: {shown(multiple)} is no positive multiple of {STEP}; use 16, 32 or 64")
    check("multiple", multiple)
    if (lacking := _lacking(space, multiple)) is not None:
        works = next((less for less in range(multiple - STEP, 0, -STEP) if _lacking(space, less) is None), None)
        way_out = f"the largest that works is {works}" if works else "none works; leave it out"
        raise InputError(f"multiple: {lacking} holds no multiple of {multiple}; {way_out}")
    stem = replace(space.stem, out=_kept(space.stem.out, _stem_multiple(space, multiple)))
    stages = tuple(_coarser(stage, multiple) for stage in space.stages)
    check_rules(space.rules, stem, stages)
    return replace(space, stem=stem, stages=stages)


def thinned(space: Space, out_step: float, width_step: float) -> Space:
    """Return the part of `space` with few widths, each larger than the one before by a factor at least.

    The factors are those for output channels and for inner widths that are a choice of their own; the least and the
    largest stay. The space's rules may leave no network of it.
    """
    stages = (
        replace(
            stage,
            out=_spread(stage.out, out_step),
            width=None if stage.width is None else _spread(stage.width, width_step),
        )
        for stage in space.stages
    )
    return replace(space, stem=replace(space.stem, out=_spread(space.stem.out, out_step)), stages=tuple(stages))


def _spread(values: tuple[int, ...], step: float) -> tuple[int, ...]:
    found = list(values[:1])
    for value in values[1:-1]:
        if step * found[-1] <= value <= values[-1] / step:
            found.append(value)
    return (*found, *values[-1:]) if len(values) > 1 else tuple(found)


def _coarser(stage: StageSpace, multiple: int) -> StageSpace:
    width = None if stage.width is None else _kept(stage.width, multiple)
    return replace(stage, out=_kept(stage.out, multiple), width=width, multiple=multiple)


def _kept(values: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Return the multiples among `values`; a single value is fixed and stays."""
    return values if len(values) == 1 else tuple(value for value in values if value % multiple == 0)


def _stem_multiple(space: Space, multiple: int) -> int:
    """Return what the stem's widths are multiples of: it may be narrower than `multiple`."""
    return min(multiple, max(space.stem.out))


def _lacking(space: Space, multiple: int) -> str | None:
    """Return the first choice of widths that has no multiple, by the path of its key; None where all have one."""
    choices: Iterable[tuple[str, tuple[int, ...], int]] = [
        ("stem.out", space.stem.out, _stem_multiple(space, multiple)),
        *((f"stages[{i}].out", stage.out, multiple) for i, stage in enumerate(space.stages)),
        *((f"stages[{i}].width", stage.width, multiple) for i, stage in enumerate(space.stages) if stage.width),
    ]
    return next((name for name, values, least in choices if not _kept(values, least)), None)
