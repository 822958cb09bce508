"""A network as one readable Python file that does without deepmad: for PyTorch alone, or for timm.

The file holds the text of `torch_modules.py` (and `timm_modules.py`) and the network's layers as a table, which is read
off the layer records; no block is written a second time. PyTorch is loaded when a file is written, not before.
"""

import ast
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import read_text, write_text
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.version import __version__

WIDTH = 120
"""Characters in a line of the files."""


def write_standalone(network: Architecture, path: Path) -> None:
    """Write a Python file that builds `network` and needs PyTorch only.

    Its `network(num_classes, in_chans, features_only, global_pool)` returns a module whose names, and so the keys of
    its state dict, are those of `deepmad.build(network)`; the defaults are the network as it is. Raises `InputError`
    where the file cannot be written.
    """
    from deepmad.search_spaces.torch_builder import network_spec

    spec = network_spec(replace(network, classes=network.classes or 1000))
    pool = "avg" if network.classes else ""
    module = path.stem if path.stem.isidentifier() else "network_file"
    usage = f"""\
    from {module} import network

    model = network()                            # with random weights: {_result(network)}
    model = network(num_classes=10, in_chans=1, global_pool="avg")
    backbone = network(features_only=True)       # a list of feature maps; backbone.feature_info tells their channels

Weights of `deepmad.build`, as `deepmad export --to weights` writes them, fit:

    model.load_state_dict(safetensors.torch.load_file("{path.stem}.safetensors"))   # after: import safetensors.torch"""
    function = f'''\
def network(
    num_classes: int = {network.classes},
    in_chans: int = {network.in_channels},
    features_only: bool = False,
    global_pool: str = "{pool}",
    zero_init_last: bool = False,
) -> Network:
    """Return the network with random weights, in training mode.

    0 classes leave the pooled features (N, C), and an empty `global_pool` beside that the last map (N, C, H, W).
    `zero_init_last` helps training deep networks: every residual block starts as its shortcut.
    """
    spec = adapted(NETWORK, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
    return Network(spec, features_only=features_only, zero_init_last=zero_init_last)'''
    imports, code = _texts(["torch_modules.py"])
    write_text(path, _file(_description(network, "PyTorch only", usage), imports, [*code, _table(spec), function]))


def write_timm(network: Architecture, path: Path) -> str:
    """Write a Python file that registers `network` with timm once it is imported; return the name it has there.

    The file needs PyTorch and timm only. Raises `InputError` where the file cannot be written.
    """
    from deepmad.search_spaces.torch_builder import network_spec

    name = timm_name(network.name or path.stem)
    module = path.stem if path.stem.isidentifier() else "network_file"
    usage = f"""\
    import timm
    import {module}

    model = timm.create_model("{name}", num_classes=10, in_chans=1)
    backbone = timm.create_model("{name}", features_only=True)"""
    function = f'''\
default_cfgs = generate_default_cfgs({{"{name}": timm_cfg(NETWORK)}})


@register_model
def {name}(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return the network as timm makes its models; there are no pretrained weights."""
    return timm_network(NETWORK, "{name}", pretrained, **kwargs)'''
    imports, code = _texts(["torch_modules.py", "timm_modules.py"])
    imports.append("from timm.models import generate_default_cfgs, register_model")
    text = _file(
        _description(network, "PyTorch and timm only", usage), imports, [*code, _table(network_spec(network)), function]
    )
    write_text(path, text)
    return name


def timm_name(name: str) -> str:
    """Return `name` as timm's models are called: r50-4.13G becomes deepmad_r50_4p13g."""
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=\d)\.(?=\d)", "p", name.lower())).strip("_")
    return plain if plain.startswith("deepmad") else f"deepmad_{plain or 'network'}"


def literal(value: Any, indent: int = 0) -> str:
    """Return Python source of nested (named) tuples of plain values; fields at their defaults are left out."""
    if not isinstance(value, tuple):
        return json.dumps(value) if isinstance(value, str) else repr(value)
    name = type(value).__name__ if hasattr(value, "_fields") else ""
    parts = [label + literal(item, indent + 4) for label, item in _items(value)]
    line = f"{name}({', '.join(parts)}{',' if len(parts) == 1 and not name else ''})"
    if "\n" not in line and indent + len(line) < WIDTH - 12:  # room for a label before it and a comma after
        return line
    inside = "".join(f"\n{' ' * (indent + 4)}{part}," for part in parts)
    return f"{name}({inside}\n{' ' * indent})"


def _items(value: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """Return what stands between a tuple's brackets, each with its label; a layer's first fields need none."""
    fields: Sequence[str] = getattr(value, "_fields", ())
    if not fields:
        return [("", item) for item in value]
    defaults: dict[str, Any] = getattr(value, "_field_defaults", {})
    plain = type(value).__name__ == "LayerSpec"
    return [
        ("" if plain and field not in defaults else f"{field}=", item)
        for field, item in zip(fields, value, strict=True)
        if field not in defaults or item != defaults[field]
    ]


def _table(spec: Any) -> str:
    """Return the assignment of a network's table."""
    return f"NETWORK = {literal(spec)}"


def _texts(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the imports of files of this package, without those of deepmad, and the code that follows them."""
    imports, code = [], []
    for file in files:
        text, start = read_text(Path(__file__).with_name(file)), 0
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                start = node.end_lineno or start
                imports.append(ast.unparse(node))
        code.append("\n".join(text.splitlines()[start:]).strip())
    return [line for line in imports if not line.startswith("from deepmad.")], code


def _file(docstring: str, imports: Sequence[str], sections: Sequence[str]) -> str:
    """Return the text of a file; imports of the standard library stand first."""
    groups: dict[bool, list[str]] = {True: [], False: []}
    for line in _merged(imports):
        groups[line.split()[1].split(".")[0] in sys.stdlib_module_names].append(line)
    blocks = "\n\n".join("\n".join(group) for group in groups.values())
    return "\n\n\n".join([f"{docstring}\n\n{blocks}", *sections]) + "\n"


def _merged(imports: Sequence[str]) -> list[str]:
    """Return import lines, one a module, those of whole modules first."""
    names: dict[str, set[str]] = {}
    for line in imports:
        module, _, wanted = line.removeprefix("from ").partition(" import ")
        names.setdefault(module, set()).update(wanted.split(", ") if wanted else ())
    lines = [
        f"from {module} import {', '.join(sorted(wanted))}" if wanted else module for module, wanted in names.items()
    ]
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def _description(network: Architecture, library: str, usage: str) -> str:
    """Return the docstring of a file: what the network is, where it is from, and how it is used."""
    parts = network.parts()
    # A name from another's file must not end the docstring.
    name = re.sub(r"[^\w .,+()-]", "_", network.name) or "A network"
    rows: list[tuple[str, Any]] = [("stem", network.stem)]
    rows += [(f"stages.{index}", stage) for index, stage in enumerate(network.stages)]
    if network.tail is not None:
        rows.append(("tail", network.tail))
    table = "\n".join(
        f"    {where:<10}" + ", ".join(f"{key} {value}" for key, value in asdict(row).items()) for where, row in rows
    )
    return f'''"""{name}, designed by deepmad {__version__}; needs {library}.

The method is that of https://arxiv.org/abs/2303.02165.

Images (N, {network.in_channels}, {network.resolution}, {network.resolution}) to {_result(network)};
{total_macs(parts):,} multiply-accumulates an image, {total_params(parts):,} parameters.

{table}

{usage}
"""'''


def _result(network: Architecture) -> str:
    """Return what the network gives, in words."""
    return f"logits (N, {network.classes})" if network.classes else "the last feature map (N, C, H, W)"
