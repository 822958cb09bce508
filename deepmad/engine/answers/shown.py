"""How a notebook shows a solution: one line, a frame of its stages, a picture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepmad.engine.answers.limit_uses import LimitUse
from deepmad.engine.answers.summaries import summary
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.notebooks import Picture, empty_figure, frame
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from pandas import DataFrame


def network_words(network: Architecture) -> list[str]:
    """Return what a network costs, in short."""
    parts = network.parts()
    return [f"{human(total_macs(parts), 'count')} MACs", f"{human(total_params(parts), 'count')} params"]


def stages_frame(network: Architecture | None) -> "DataFrame":
    """Return a row a stage: its settings, the side of its output in pixels, its MACs and parameters.

    Raises `InputError` where there is no network, and `ImportError` without pandas.
    """
    if network is None:
        raise InputError("stages: the solution has no network; its message says why")
    stages = summary(network)["stages"]
    return frame(({"stage": index} | stage for index, stage in enumerate(stages)), "stage")


def network_picture(network: Architecture | None, limits: Mapping[str, LimitUse]) -> Picture:
    """Return a picture of what every stage costs, and of how much of every limit is used.

    Raises `InputError` where there is no network, and `ImportError` without matplotlib.
    """
    if network is None:
        raise InputError("plot: the solution has no network; its message says why")
    figures = summary(network)
    stages = figures["stages"]
    names = [f"{index}: {stage['block']} x{stage['depth']}\n{stage['out']} ch" for index, stage in enumerate(stages)]
    figure = empty_figure(10, 3.6)
    costs, uses = figure.subplots(1, 2, width_ratios=[3, 2])
    for shift, name in ((-0.2, "macs"), (0.2, "params")):
        shares = [100 * stage[name] / figures[name] for stage in stages]
        costs.bar([index + shift for index in range(len(stages))], shares, 0.4, label=name)
    costs.set_xticks(range(len(stages)), names, fontsize=8)
    costs.set(ylabel="% of the network", title=figures["name"] or "network")
    costs.legend(frameon=False)
    used = [(name, use.share) for name, use in limits.items() if use.share is not None]
    uses.barh([name for name, _ in used], [100 * share for _, share in used], color="#888888")
    uses.axvline(100, color="#444444", linewidth=1)
    uses.invert_yaxis()
    uses.set(xlabel="% of the limit used", title="limits")
    return Picture(figure)
