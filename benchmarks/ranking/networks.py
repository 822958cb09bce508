"""What every reader of a data set returns: networks as layer records, with what training made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Body, Layer, Part, total_macs, total_params


@dataclass(frozen=True)
class Trained:
    """A network with the accuracy that somebody measured after training it.

    `accuracy` is in percent, or an error in percent with its sign turned: the larger the better. `trainings` holds the
    same of each training, where there were several. `residual` says that the network is of the residual family, for
    which the published code leaves out two stages' depths. `told` holds the data set's own counts, each with how far
    its rounding may lie from the truth: `macs`, `macs_and_biases`, `params`, `outputs` (see `counts`).
    """

    name: str
    parts: tuple[Part, ...]
    accuracy: float
    residual: bool = False
    trainings: tuple[float, ...] = ()
    told: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """A data set: where it was published, the unit of its accuracies, and how it is read from its folder.

    `read` takes that folder, and raises `OSError` or `InputError` where a file is missing or is another one.
    """

    name: str
    source: str
    unit: str
    read: Callable[[Path], list[Trained]]


def counts(parts: Sequence[Part]) -> dict[str, int]:
    """Return what data sets tell of a network, by the layer records.

    `macs` and `params` are the package's; `macs_and_biases` adds one for every bias added; `outputs` are the elements
    that all convolutions and linear layers put out, those of shortcuts and gates too.
    """
    layers = [(part.repeats, layer) for part in parts for layer in part.body.layers]
    computing = [(repeats, layer) for repeats, layer in layers if layer.operation in ("conv", "linear")]
    return {
        "macs": total_macs(parts),
        "macs_and_biases": total_macs(parts) + sum(times * one.bias * one.output_elements for times, one in computing),
        "params": total_params(parts),
        "outputs": sum(times * one.output_elements for times, one in computing),
    }


def check_counts(networks: Sequence[Trained]) -> int:
    """Return how many counts of the data set ours agree with. Raises `InputError` for the first one that differs."""
    compared = 0
    for network in networks:
        own = counts(network.parts) if network.told else {}
        for name, (told, rounding) in network.told.items():
            if abs(own[name] - told) > rounding:
                raise InputError(
                    f"{network.name}: {name} is {own[name]:,} by the layer records, {told:,.10g} in the data; "
                    "the reader takes the network for another one"
                )
            compared += 1
    return compared


def even(side: int, stride: int) -> int:
    """Return the side that a record needs so that its output has the size that padding gives: ceil(side / stride)."""
    return -(-side // stride) * stride


def without_expansion(body: Body) -> Body:
    """Return an inverted residual without its first 1x1, as it is where the expansion is 1."""
    return replace(body, layers=body.layers[1:])


def entered_at(body: Body, side: int) -> Body:
    """Return a body whose first layer, before the stride, runs at an odd side as it is, not rounded up."""
    first = body.layers[0]
    return replace(body, layers=(replace(first, side=side if first.stride == 1 else first.side), *body.layers[1:]))


def with_group_width(body: Body, width: int) -> Body:
    """Return a bottleneck whose kxk convolution sees `width` channels a group.

    The record's inputs are those that one output sees; weights, MACs, fan-in and outputs are then those of groups.
    """
    first, spatial, *others = body.layers
    return replace(body, layers=(first, replace(spatial, inputs=width), *others))


def with_gate(body: Body, squeezed: int) -> Body:
    """Return a body with squeeze-excitation of biased 1x1 convolutions before its last main-path layer."""
    last = max(place for place, layer in enumerate(body.layers) if layer.role == "main")
    before = body.layers[last - 1]
    gate = (
        Layer("gate", "global_pool", before.outputs, before.outputs, before.out_side, norm=False),
        Layer("gate", "conv", before.outputs, squeezed, 1, norm=False, bias=True),
        Layer("gate", "conv", squeezed, before.outputs, 1, norm=False, bias=True),
    )
    return replace(body, layers=(*body.layers[:last], *gate, *body.layers[last:]))
