"""Design CNNs for a hardware budget, with a proof of how close to optimal they are.

The public names; each is loaded from its own module at its first use, so that importing deepmad is quick
and loads no heavy library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmad.engine.answers.claims import ContradictionError
    from deepmad.engine.answers.progress import Interrupted, OutOfMemoryError
    from deepmad.engine.answers.solutions import Solution, Status
    from deepmad.engine.explanation import explain
    from deepmad.engine.measured_loop import design_measured
    from deepmad.engine.program.black_boxes import BlackBox
    from deepmad.engine.program.budgets import Budget
    from deepmad.engine.program.problems import Problem
    from deepmad.engine.solvers.alternatives import with_alternatives
    from deepmad.engine.solvers.fronts.finding import pareto_front
    from deepmad.engine.solvers.fronts.front import Front
    from deepmad.engine.solvers.settings import Auto, CpSat, Evolution, Rows
    from deepmad.notebook import compare, design
    from deepmad.profilers.errors import DeviceError
    from deepmad.profilers.measuring.measurements import Measurement, measure
    from deepmad.profilers.tables.tables import LatencyTable
    from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
    from deepmad.search_spaces.coarsening import coarsened
    from deepmad.search_spaces.errors import InputError
    from deepmad.search_spaces.spaces import Space, presets
    from deepmad.search_spaces.spaces import load_space as space
    from deepmad.search_spaces.torch_builder import build
    from deepmad.search_spaces.units import AtLeast
    from deepmad.version import __version__ as __version__
    from deepmad.zoo.making import make_zoo

_HOMES = {
    "Architecture": "deepmad.search_spaces.architectures",
    "AtLeast": "deepmad.search_spaces.units",
    "Auto": "deepmad.engine.solvers.settings",
    "BlackBox": "deepmad.engine.program.black_boxes",
    "Budget": "deepmad.engine.program.budgets",
    "CpSat": "deepmad.engine.solvers.settings",
    "ContradictionError": "deepmad.engine.answers.claims",
    "DeviceError": "deepmad.profilers.errors",
    "Evolution": "deepmad.engine.solvers.settings",
    "Front": "deepmad.engine.solvers.fronts.front",
    "InputError": "deepmad.search_spaces.errors",
    "Interrupted": "deepmad.engine.answers.progress",
    "OutOfMemoryError": "deepmad.engine.answers.progress",
    "LatencyTable": "deepmad.profilers.tables.tables",
    "Measurement": "deepmad.profilers.measuring.measurements",
    "Problem": "deepmad.engine.program.problems",
    "Rows": "deepmad.engine.solvers.settings",
    "Solution": "deepmad.engine.answers.solutions",
    "Space": "deepmad.search_spaces.spaces",
    "Stage": "deepmad.search_spaces.architectures",
    "Status": "deepmad.engine.answers.solutions",
    "Stem": "deepmad.search_spaces.architectures",
    "Tail": "deepmad.search_spaces.architectures",
    "coarsened": "deepmad.search_spaces.coarsening",
    "explain": "deepmad.engine.explanation",
    "with_alternatives": "deepmad.engine.solvers.alternatives",
    "build": "deepmad.search_spaces.torch_builder",
    "compare": "deepmad.notebook",
    "design": "deepmad.notebook",
    "design_measured": "deepmad.engine.measured_loop",
    "make_zoo": "deepmad.zoo.making",
    "measure": "deepmad.profilers.measuring.measurements",
    "pareto_front": "deepmad.engine.solvers.fronts.finding",
    "presets": "deepmad.search_spaces.spaces",
    "space": "deepmad.search_spaces.spaces:load_space",
    "__version__": "deepmad.version",
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
    "AtLeast",
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
    "compare",
    "pareto_front",
    "make_zoo",
    "Front",
    "Solution",
    "Status",
    "Interrupted",
    "OutOfMemoryError",
    "LatencyTable",
    "Measurement",
    "measure",
    "InputError",
    "DeviceError",
    "ContradictionError",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'deepmad' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
