"""The torch module of an architecture, assembled from the same layer records that count its costs."""

import os

from deepmad.search_spaces import torch_modules
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer, Part, by_stage, total_params
from deepmad.search_spaces.torch_modules import BlockSpec, LayerSpec, NetworkSpec, StageSpec
from deepmad.search_spaces.units import human

BYTES_PER_WEIGHT = 4


class Network(torch_modules.Network):
    """The network of an architecture: `stem`, `stages`, `tail` and `classifier`; see `torch_modules.Network`."""

    def __init__(
        self, architecture: Architecture, *, features_only: bool = False, zero_init_last: bool = False
    ) -> None:
        super().__init__(network_spec(architecture), features_only=features_only, zero_init_last=zero_init_last)
        self.architecture = architecture.backbone() if features_only else architecture


def build(architecture: Architecture, *, features_only: bool = False, zero_init_last: bool = False) -> Network:
    """Return the torch module of `architecture`, randomly initialised (He, fan-out), in training mode.

    Its parameters and multiply-accumulates equal the records' exactly. With `features_only` the forward pass returns
    the feature maps (N, c_i, r_i, r_i) at the ends of the scales. With `zero_init_last` every residual block starts as
    its shortcut, which helps training deep networks; leave it out of networks that are timed, since compilers may
    drop branches that are zero. Raises `InputError` where `architecture` is none, and where this machine's memory
    does not hold its weights.
    """
    if not isinstance(architecture, Architecture):
        raise InputError(f"build: {type(architecture).__name__} is no architecture; load one with Architecture.load")
    _check_memory(architecture)
    return Network(architecture, features_only=features_only, zero_init_last=zero_init_last)


def _check_memory(architecture: Architecture) -> None:
    """Raise `InputError` where the weights need more memory than this machine has."""
    params = total_params(architecture.parts())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (needed := params * BYTES_PER_WEIGHT) > there:
        raise InputError(
            f"{architecture.name or 'the network'}: its {human(params, 'count')} parameters need "
            f"{human(needed, 'bytes')}, and this machine has {human(there, 'bytes')}; build a smaller one"
        )


def network_spec(architecture: Architecture) -> NetworkSpec:
    """Return the tables of `architecture`'s layers that its modules are made from, read off its layer records."""
    parts = architecture.parts()
    named = {part.name: part for part in parts}
    stages = []
    for alike in by_stage(parts, len(architecture.stages)):
        members = [part for part in alike if part.repeats]
        ends_scale = any(part.ends_scale for part in members)
        stages.append(StageSpec(tuple(_block_spec(part) for part in members), ends_scale))
    return NetworkSpec(
        resolution=architecture.resolution,
        stem=_block_spec(named["stem"]),
        stages=tuple(stages),
        tail=_block_spec(named["tail"]) if "tail" in named else None,
        classifier=_block_spec(named["classifier"]).layers if "classifier" in named else (),
    )


def _block_spec(part: Part) -> BlockSpec:
    """Return the table of a part's layers."""
    return BlockSpec(tuple(_layer_spec(layer) for layer in part.body.layers), bool(part.body.residual), part.repeats)


def _layer_spec(layer: Layer) -> LayerSpec:
    """Return what a module needs to know of a layer."""
    return LayerSpec(*(getattr(layer, field) for field in LayerSpec._fields))
