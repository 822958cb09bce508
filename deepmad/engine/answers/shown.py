"""How a notebook shows a solution: one line, a frame of its stages, a picture."""

from typing import TYPE_CHECKING

from deepmad.engine.answers.summaries import summary
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.notebooks import Picture, empty_figure, frame
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from pandas import DataFrame

    from deepmad.engine.answers.solutions import Solution


def solution_line(solution: "Solution") -> str:
    """Return what a solution is in one line."""
    network = solution.architecture
    if network is None or solution.objective is None:
        return f"<Solution {solution.status}: {solution.message}>"
    figures = summary(network)
    parts = [
        f"objective {solution.objective:,.1f}",
        "no bound" if solution.gap is None else f"gap {solution.gap:.2%}",
        f"{human(figures['macs'], 'count')} MACs",
        f"{human(figures['params'], 'count')} params",
    ]
    for word, known in (("predicted", solution.predicted), ("measured", solution.measured)):
        parts += [] if known is None else [f"{word} {human(known.latency_seconds, 'seconds')}"]
    parts += [f"{len(solution.alternatives)} alternatives"] if solution.alternatives else []
    parts += [f"{len(solution.warnings)} warnings"] if solution.warnings else []
    return f"<Solution {solution.status}: {', '.join(parts)}>"


def stages_frame(solution: "Solution") -> "DataFrame":
    """Return a row a stage: its settings, the side of its output in pixels, its MACs and parameters.

    Raises `InputError` for a solution without network, and `ImportError` without pandas.
    """
    if solution.architecture is None:
        raise InputError(f"stages: the solution has no network: {solution.message}")
    stages = summary(solution.architecture)["stages"]
    return frame(({"stage": index} | stage for index, stage in enumerate(stages)), "stage")


def solution_picture(solution: "Solution") -> Picture:
    """Return a picture of what every stage costs, and of how much of every limit is used.

    Raises `InputError` for a solution without network, and `ImportError` without matplotlib.
    """
    if solution.architecture is None:
        raise InputError(f"plot: the solution has no network: {solution.message}")
    figures = summary(solution.architecture)
    stages = figures["stages"]
    names = [f"{index}: {stage['block']} x{stage['depth']}\n{stage['out']} ch" for index, stage in enumerate(stages)]
    figure = empty_figure(10, 3.6)
    costs, limits = figure.subplots(1, 2, width_ratios=[3, 2])
    for shift, name in ((-0.2, "macs"), (0.2, "params")):
        shares = [100 * stage[name] / figures[name] for stage in stages]
        costs.bar([index + shift for index in range(len(stages))], shares, 0.4, label=name)
    costs.set_xticks(range(len(stages)), names, fontsize=8)
    costs.set(ylabel="% of the network", title=figures["name"] or "network")
    costs.legend(frameon=False)
    used = [(name, use.share) for name, use in solution.limits.items() if use.share is not None]
    limits.barh([name for name, _ in used], [100 * share for _, share in used], color="#888888")
    limits.axvline(100, color="#444444", linewidth=1)
    limits.invert_yaxis()
    limits.set(xlabel="% of the limit used", title="limits")
    return Picture(figure)
