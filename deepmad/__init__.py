"""Design CNNs for a hardware budget, with a proof of how close to optimal they are.

The public names; each is loaded from its own module at its first use, so that importing deepmad is quick
and loads no heavy library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmad.engine.alternatives import with_alternatives
    from deepmad.engine.blackbox.limits import BlackBox
    from deepmad.engine.budgets import Budget
    from deepmad.engine.evolution.fronts import Front, pareto_front
    from deepmad.engine.evolution.settings import Evolution
    from deepmad.engine.explanation import explain
    from deepmad.engine.loop import design_measured
    from deepmad.engine.problems import Problem
    from deepmad.engine.rows.settings import Rows
    from deepmad.engine.solutions import Solution, Status
    from deepmad.engine.solvers import Auto, CpSat, Interrupted, design
    from deepmad.profilers.errors import DeviceError
    from deepmad.profilers.measurements import Measurement, measure
    from deepmad.profilers.tables import LatencyTable
    from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
    from deepmad.search_spaces.coarsening import coarsened
    from deepmad.search_spaces.errors import InputError
    from deepmad.search_spaces.spaces import Space, presets
    from deepmad.search_spaces.spaces import load_space as space
    from deepmad.search_spaces.torch_builder import build
    from deepmad.zoo.making import make_zoo

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "deepmad.search_spaces.architectures",
    "Auto": "deepmad.engine.solvers",
    "BlackBox": "deepmad.engine.blackbox.limits",
    "Budget": "deepmad.engine.budgets",
    "CpSat": "deepmad.engine.solvers",
    "DeviceError": "deepmad.profilers.errors",
    "Evolution": "deepmad.engine.evolution.settings",
    "Front": "deepmad.engine.evolution.fronts",
    "InputError": "deepmad.search_spaces.errors",
    "Interrupted": "deepmad.engine.solvers",
    "LatencyTable": "deepmad.profilers.tables",
    "Measurement": "deepmad.profilers.measurements",
    "Problem": "deepmad.engine.problems",
    "Rows": "deepmad.engine.rows.settings",
    "Solution": "deepmad.engine.solutions",
    "Space": "deepmad.search_spaces.spaces",
    "Stage": "deepmad.search_spaces.architectures",
    "Status": "deepmad.engine.solutions",
    "Stem": "deepmad.search_spaces.architectures",
    "Tail": "deepmad.search_spaces.architectures",
    "coarsened": "deepmad.search_spaces.coarsening",
    "explain": "deepmad.engine.explanation",
    "with_alternatives": "deepmad.engine.alternatives",
    "build": "deepmad.search_spaces.torch_builder",
    "design": "deepmad.engine.solvers",
    "design_measured": "deepmad.engine.loop",
    "make_zoo": "deepmad.zoo.making",
    "measure": "deepmad.profilers.measurements",
    "pareto_front": "deepmad.engine.evolution.fronts",
    "presets": "deepmad.search_spaces.spaces",
    "space": "deepmad.search_spaces.spaces:load_space",
}

__all__ = [  # noqa: RUF022 - in the order of a design
    "space",
    "presets",
    "coarsened",
    "Space",
    "Architecture",
    "Stem",
    "Stage",
    "Tail",
    "build",
    "Budget",
    "BlackBox",
    "Problem",
    "Auto",
    "CpSat",
    "Rows",
    "Evolution",
    "design",
    "design_measured",
    "explain",
    "with_alternatives",
    "pareto_front",
    "make_zoo",
    "Front",
    "Solution",
    "Status",
    "Interrupted",
    "LatencyTable",
    "Measurement",
    "measure",
    "InputError",
    "DeviceError",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'deepmad' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
