"""A problem's limits one by one: lifted, or changed, by the names that the solution file gives them."""

from collections.abc import Collection
from dataclasses import replace

from deepmad.engine.budgets import Budget
from deepmad.engine.problems import Problem
from deepmad.search_spaces.units import Kind

FIELDS = {
    "macs": ("macs",),
    "params": ("params",),
    "rho": ("rho",),
    "latency_seconds": ("latency", "throughput"),
    "memory_bytes": ("memory",),
}
"""The fields of a budget behind each limit, by the names that `usages` gives them."""
KINDS: dict[str, Kind] = {
    "macs": "count",
    "params": "count",
    "rho": "number",
    "latency_seconds": "seconds",
    "memory_bytes": "bytes",
}
"""What each limit is a quantity of."""


def only(problem: Problem, names: Collection[str]) -> Problem:
    """Return the problem with no other limits than `names`."""
    lifted = [field for name, fields in FIELDS.items() if name not in names for field in fields]
    budget: Budget = replace(problem.budget, **dict.fromkeys(lifted))
    return replace(problem, budget=budget)


def with_limit(problem: Problem, name: str, value: float) -> Problem:
    """Return the problem with the limit `name` at `value`, in the unit of `usages`; a throughput becomes a latency."""
    field, *others = FIELDS[name]
    budget: Budget = replace(problem.budget, **{field: value}, **dict.fromkeys(others))
    return replace(problem, budget=budget)
