"""A problem's limits one by one: lifted, or changed, by the names that the solution file gives them."""

from collections.abc import Collection
from dataclasses import replace

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.measures import MEASURES
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import AtLeast

KINDS = {name: measure.kind for name, measure in MEASURES.items()}
"""What each limit is a quantity of."""


def only(problem: Problem, names: Collection[str]) -> Problem:
    """Return the problem with no other limits than `names`, black boxes included."""
    lifted = [field for name, measure in MEASURES.items() if name not in names for field in measure.fields]
    kept = tuple(box for box in problem.black_boxes if box.name in names)
    budget: Budget = replace(problem.budget, extra=kept, **dict.fromkeys(lifted))
    return replace(problem, budget=budget)


def without_black_boxes(problem: Problem) -> Problem:
    """Return the problem with those limits alone that are counted from the layer records: a relaxation of it."""
    return only(problem, problem.limits())


def with_limit(problem: Problem, name: str, value: float) -> Problem:
    """Return the problem with the limit `name` at `value`, in the unit of `usages`; a throughput becomes a latency.

    The limit keeps its sense; where there was none, it is one from above.
    """
    field, *others = MEASURES[name].fields
    below = isinstance(getattr(problem.budget, field), AtLeast)
    changed = {field: AtLeast(value) if below else value}
    budget: Budget = replace(problem.budget, **changed, **dict.fromkeys(others))  # type: ignore[arg-type]
    return replace(problem, budget=budget)


def require_counted(problem: Problem, what: str) -> None:
    """Raise `InputError` where a limit is a function, which `what` cannot take."""
    if problem.black_boxes:
        names = " and ".join(box.name for box in problem.black_boxes)
        raise InputError(f"{what} cannot take a limit that is a function ({names}); leave one of them out")
