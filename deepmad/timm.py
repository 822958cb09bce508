"""Designed networks in timm: registered under a name, made by `timm.create_model` like timm's own.

    import deepmad.timm
    import timm

    name = deepmad.timm.register("solution.json", "deepmad_mine")
    model = timm.create_model(name, num_classes=10, in_chans=1)
    backbone = timm.create_model(name, features_only=True, out_indices=(1, 2, 3))

Importing this module registers the networks of the zoos in the environment variable DEEPMAD_ZOO, folders that
`deepmad zoo` wrote, separated like those in PATH.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_format, read_json, validated
from deepmad.search_spaces.standalone import timm_name
from deepmad.search_spaces.torch_builder import network_spec
from deepmad.search_spaces.torchvision_operators import import_library

import_library("timm")  # whatever build of torchvision stands beside this PyTorch
import timm  # noqa: E402
from timm.models import DefaultCfg, generate_default_cfgs, register_model  # noqa: E402

from deepmad.search_spaces.timm_modules import timm_cfg, timm_network  # noqa: E402

__all__ = ["ZOO_VARIABLE", "register", "register_zoo"]  # timm adds the names of the networks

ZOO_VARIABLE = "DEEPMAD_ZOO"

default_cfgs: dict[str, DefaultCfg] = {}
"""What timm knows of each network; it looks for this name in the module that a model is registered from."""
_registered: dict[str, tuple[Architecture, Path | None]] = {}


def register(
    architecture: Architecture | str | Path, name: str | None = None, *, weights: str | Path | None = None
) -> str:
    """Register a network with timm, and return the name that `timm.create_model` takes.

    `architecture` may be a file, a solution file too. The name is made from the network's own unless given.
    `weights`, a safetensors or PyTorch file with trained weights of the network as designed, is what `pretrained=True`
    loads. Registering the same again changes nothing. Raises `InputError` where the file is none, the name is taken, or
    it is no lower-case identifier.
    """
    network = architecture if isinstance(architecture, Architecture) else Architecture.load(architecture)
    stem = "" if isinstance(architecture, Architecture) else Path(architecture).stem
    chosen = name or timm_name(network.name or stem)
    file = None if weights is None else Path(weights).absolute()  # as timm reads it later
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", chosen):
        raise InputError(f"name: {chosen!r} cannot name a model; use lower-case letters, digits and underscores")
    if _registered.get(chosen) == (network, file):
        return chosen
    if timm.is_model(chosen):
        raise InputError(f"name: timm has a model {chosen!r} already; give this network another name")
    if file is not None and not file.is_file():
        raise InputError(f"{file}: there is no such file of weights")
    spec = network_spec(network)

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        """Return the network; see `timm.create_model`."""
        return timm_network(spec, chosen, pretrained, **kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = chosen
    trained = {} if file is None else {"file": str(file)}
    default_cfgs.update(generate_default_cfgs({chosen: timm_cfg(spec) | trained}))
    globals()[chosen] = register_model(entrypoint)
    _registered[chosen] = (network, file)
    return chosen


def register_zoo(folder: str | Path) -> tuple[str, ...]:
    """Register the networks of a zoo, a folder that `deepmad zoo` wrote; return their names.

    Their weights are random ones, so there is nothing for `pretrained=True` to load. Raises `InputError` where the
    folder holds no zoo.
    """
    path = Path(folder) / "zoo.json"
    document = read_json(path)
    check_format(document, "zoo_results", str(path))
    zoo = validated(_ZOO, document, str(path))
    designed = [(entry.name, entry.files.architecture) for entry in zoo.entries]
    return tuple(register(path.parent / file, name) for name, file in designed if file is not None)


@dataclass(frozen=True)
class _Files:
    """The files of an entry, as far as they matter here."""

    architecture: str | None


@dataclass(frozen=True)
class _Entry:
    """An entry of a zoo, as far as it matters here; one without a network has no architecture."""

    name: str
    files: _Files


@dataclass(frozen=True)
class _Zoo:
    """A zoo's entries."""

    entries: tuple[_Entry, ...]


_ZOO: TypeAdapter[_Zoo] = TypeAdapter(_Zoo)

for _folder in filter(None, os.environ.get(ZOO_VARIABLE, "").split(os.pathsep)):
    register_zoo(_folder)
