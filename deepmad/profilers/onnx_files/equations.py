"""What an Einsum multiplies, read off its equation."""

import math
from collections.abc import Sequence

_SPARE = "αβγδεζηθικλμνξοπρστυφχψω"
"""Names for the axes that an ellipsis stands for; equations have Latin letters."""


def einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int | None:
    """Return the multiply-accumulates of an Einsum, its operands multiplied from left to right.

    A product that sums nothing and only scales one operand counts nothing, as a Mul does. None where the equation does
    not fit the shapes.
    """
    written, arrow, kept = equation.replace(" ", "").partition("->")
    operands = written.split(",")
    if len(operands) != len(shapes):
        return None
    expanded, sizes = [], dict[str, int]()
    for operand, shape in zip(operands, shapes, strict=True):
        labels = _expanded(operand, len(shape))
        if labels is None:
            return None
        expanded.append(labels)
        for label, size in zip(labels, shape, strict=True):
            if sizes.get(label, 1) != 1 and size not in (1, sizes[label]):
                return None
            sizes[label] = max(size, sizes.get(label, 1))
    if not arrow:
        everything = "".join(expanded)
        kept = "".join(label for label in everything if everything.count(label) == 1 or label in _SPARE)
    wanted = set(kept.replace("...", _SPARE))
    macs, left = 0, set(expanded[0])
    for index, labels in enumerate(expanded[1:], start=1):
        right, both = set(labels), left | set(labels)
        later = wanted.union(*expanded[index + 1 :])
        if both - later or both not in (left, right):
            macs += math.prod(sizes[label] for label in both)
        left = both & later
    return macs


def _expanded(operand: str, rank: int) -> str | None:
    """Return a label an axis, the last axes of an ellipsis named from the end; None where they do not fit."""
    if "..." not in operand:
        return operand if len(operand) == rank else None
    before, _, after = operand.partition("...")
    spared = rank - len(before) - len(after)
    if not 0 <= spared <= len(_SPARE):
        return None
    return before + _SPARE[len(_SPARE) - spared :] + after
