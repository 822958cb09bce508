"""What a network uses of the limits, as solutions tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepmad.engine.answers.fields import Number, Whole
from deepmad.engine.program.budgets import Usage
from deepmad.engine.program.measures import Sense, used_up
from deepmad.engine.program.problems import Problem


@dataclass(frozen=True)
class LimitUse:
    """A limit and what the network uses of it; null where there is no network.

    A file tells the sense where it is `at least`; where it says nothing, it is `at most`.
    """

    limit: Number
    used: Whole | Number | None  # a count stays one where a file is read again
    sense: Sense = "at most"

    @property
    def share(self) -> float | None:
        """How much of the limit is used up, 1 where all of it: used / limit, or limit / used of one from below."""
        return None if self.used is None else used_up(self.used, self.limit, self.sense)

    def to_dict(self) -> dict[str, Any]:
        """Return the document of a solution file's limit."""
        found = {"limit": self.limit, "used": self.used}
        return found if self.sense == "at most" else found | {"sense": self.sense}


def uses(usages: Mapping[str, Usage]) -> dict[str, LimitUse]:
    """Return the limits and what a network uses of each, from its usages."""
    return {name: LimitUse(use.limit, use.used, use.sense) for name, use in usages.items()}


def unused(problem: Problem) -> dict[str, LimitUse]:
    """Return the limits, those of functions included, with nothing used."""
    counted = {name: LimitUse(limit.value, None, limit.sense) for name, limit in problem.limits().items()}
    return counted | {box.name: LimitUse(box.limit, None) for box in problem.black_boxes}


def limits_document(limits: Mapping[str, LimitUse]) -> dict[str, Any]:
    """Return the document of a solution file's limits."""
    return {name: use.to_dict() for name, use in limits.items()}
