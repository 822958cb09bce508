"""Models that a user names: files, other libraries' models, any callable that makes a module."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.search_spaces.architectures import Architecture, split_rank
from deepmad.search_spaces.errors import InputError, first_line, near
from deepmad.search_spaces.named import importable, imported
from deepmad.search_spaces.spaces import require_network
from deepmad.search_spaces.torchvision_operators import import_library

if TYPE_CHECKING:
    from torch import nn

DEFAULT_RESOLUTION = 224


@dataclass(frozen=True)
class Source:
    """A model with the size of its input: channels, and side in pixels; None where the model itself knows."""

    model: "Architecture | nn.Module | Path"
    in_channels: int | None
    resolution: int | None


def load_source(name: str, *, resolution: int | None = None) -> Source:
    """Return the model called `name`.

    Architecture and solution files (.json; FILE.json#3 is a solution's third network), ONNX files, `timm:NAME`,
    `torchvision:NAME` (both with random weights) and `package.module:callable`, whose code is imported and run.
    `resolution` replaces the model's own input side. Raises `InputError` where there is no such model, or its
    library is missing or broken.
    """
    if (path := Path(name)).suffix.lower() == ".onnx":
        if not path.is_file():
            raise InputError(f"{name}: there is no such file")
        return Source(path, None, resolution)
    if split_rank(name)[0].suffix == ".json" or Path(name).is_file():
        return Source(Architecture.load(name), None, resolution)
    library, _, rest = name.partition(":")
    if not rest:
        require_network(name)
        raise InputError(
            f"model: {name!r} is no file{_meant(name)}; give an architecture or .onnx file, timm:NAME, "
            "torchvision:NAME or package.module:callable"
        )
    if library == "timm":
        return _from_timm(rest, resolution)
    if library == "torchvision":
        return _from_torchvision(rest, resolution)
    return Source(_from_callable(library, rest), 3, resolution or DEFAULT_RESOLUTION)


def _meant(name: str) -> str:
    """Return a question after the libraries that a bare name of a model may have been meant for."""
    return f" (did you mean timm:{name} or torchvision:{name}?)" if name.isidentifier() else ""


def _library(name: str) -> Any:
    """Import an optional library; raises `InputError` with the way to get a working one."""
    try:
        return import_library(name)
    except ImportError as error:
        raise InputError(str(error)) from error


def check_listed(name: str) -> None:
    """Raise `InputError` where timm or torchvision, as in `timm:NAME`, has no such model.

    Where the library is missing nothing is known, and nothing raised.
    """
    library, _, model = name.partition(":")
    try:
        listed = _library({"timm": "timm", "torchvision": "torchvision.models"}[library])
    except InputError:
        return
    known = listed.list_models()
    if model not in known and not (library == "timm" and listed.is_model(model)):  # a timm name may have a tag
        raise InputError(f"{name}: {library} has no such model{near(model, known)}; mend the name")


def _from_timm(name: str, resolution: int | None) -> Source:
    timm = _library("timm")
    check_listed(f"timm:{name}")
    model = _with_weights(timm.create_model, name)
    channels, side, _ = model.pretrained_cfg.get("input_size", (3, DEFAULT_RESOLUTION, DEFAULT_RESOLUTION))
    return Source(model, channels, resolution or side)


def _with_weights(create_model: Any, name: str) -> Any:
    """Return a network of timm whose residual branches do not end in a scale of zero, where the model takes that."""
    try:
        return create_model(name, pretrained=False, zero_init_last=False)
    except TypeError:  # most models know no such thing
        return create_model(name, pretrained=False)


def _from_torchvision(name: str, resolution: int | None) -> Source:
    models = _library("torchvision.models")
    check_listed(f"torchvision:{name}")
    return Source(models.get_model(name, weights=None), 3, resolution or DEFAULT_RESOLUTION)


def _from_callable(module: str, name: str) -> "nn.Module":
    """Import `module` (the current folder first) and call its `name`, which must return a torch module.

    What that prints goes to standard error, where results do not.
    """
    from torch import nn

    with importable(str(Path.cwd())), redirect_stdout(sys.stderr):
        function = imported(module, name)
        try:
            made = function()
        except Exception as error:
            raise InputError(
                f"{module}:{name}: calling it raised {type(error).__name__}: {first_line(error)}"
            ) from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{module}:{name}: it returned {type(made).__name__}, not a torch module")
    return made
