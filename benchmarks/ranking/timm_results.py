"""timm's results on ImageNet: CNNs trained on ImageNet-1k alone, without a teacher, by many recipes.

Published in github.com/huggingface/pytorch-image-models, `results/`; `results-imagenet.csv` holds the accuracies, and
the files `benchmark-infer-*.csv` MACs. An architecture has its best accuracy among plain recipes, at 224 pixels where
it was tested so, at its smallest test size elsewhere. What a network is made of is seen by running timm's own model on
tensors without data, so timm has to be installed.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.ranking.networks import DataSet, Trained
from deepmad.search_spaces.layers import Body, Layer, Operation, Part, Role
from deepmad.search_spaces.torchvision_operators import import_library

FILE = "results-imagenet.csv"
SIDE = 224
PARAMS_SHARE, MACS_SHARE = 0.005, 0.05
"""How far counts may lie apart beside the rounding: timm's hold more than convolutions, as ConvNeXt's scales."""
_FAMILIES = re.compile(
    r"resnet(18|34|26|50|101|152)d?|resnext(50|101)_(32x4d|64x4d)|wide_resnet(50|101)_2|seresnet50|regnet[xy]_\d+"
    r"|mobilenetv[12]_\d+[dh]?|mobilenetv3_(small|large)_\d+|mobilenetv4_conv_(small|medium|large)|mnasnet_(small|\d+)"
    r"|semnasnet_\d+|efficientnet_(b\d|lite0)|tinynet_[a-e]|fbnetc_100|spnasnet_100|gernet_[sml]"
    r"|convnext_(atto|femto|pico|nano|tiny|small|base|large)"
)
"""Networks whose main path is a row of convolutions; the names of their layers tell shortcuts and gates from it."""
_OTHER_DATA_OR_TEACHER = re.compile("ft_|dist|in2|in12k|ig1b|yfcc|swag|untrained|ap_|ns_|ad_")
_RESIDUAL = re.compile("(se|wide_)?resne|regnet|gernet")
_BLOCK = re.compile(r"(?P<stage>layer\d+|s\d+|blocks\.\d+|stages\.\d+)(\.blocks)?\.b?\d+(?=\.)")
_Seen = tuple[str, Layer]


def read(folder: Path) -> list[Trained]:
    """Return the networks in the folder of the data set. Raises `ImportError` where timm is missing."""
    macs = dict(_told_macs(folder))
    found = []
    for name, row in sorted(_chosen(folder).items()):
        side = int(row["img_size"])
        params = 1e6 * float(row["param_count"].replace(",", ""))
        told = {"params": (params, 5e3 + PARAMS_SHARE * params)}
        if (name, side) in macs:
            told["macs"] = (macs[name, side], 5e6 + MACS_SHARE * macs[name, side])
        residual = _RESIDUAL.match(name) is not None
        found.append(
            Trained(f"{row['model']} at {side}", parts_of(name, side), float(row["top1"]), residual, told=told)
        )
    return found


def _chosen(folder: Path) -> dict[str, dict[str, str]]:
    """Return the row of every architecture: its best one of the test size that counts."""
    chosen: dict[str, dict[str, str]] = {}
    with (folder / FILE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, _, recipe = row["model"].partition(".")
            if not _FAMILIES.fullmatch(name) or not recipe.endswith("in1k") or _OTHER_DATA_OR_TEACHER.search(recipe):
                continue
            if name not in chosen or _preference(row) > _preference(chosen[name]):
                chosen[name] = row
    return chosen


def _preference(row: dict[str, str]) -> tuple[bool, int, float]:
    side = int(row["img_size"])
    return side == SIDE, -side, float(row["top1"])


def _told_macs(folder: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield MACs by architecture and side, as far as the benchmark files tell them."""
    for path in sorted(folder.glob("benchmark-infer-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["infer_gmacs"]:
                    yield (row["model"], int(row["infer_img_size"])), 1e9 * float(row["infer_gmacs"])


def parts_of(name: str, side: int) -> tuple[Part, ...]:
    """Return the layer records of timm's network of a name on pictures of a side, a part for each block."""
    import_library("timm")
    import timm

    blocks: dict[str, list[Layer]] = {}
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        for path, layer in _seen(model, torch.empty(1, 3, side, side)):
            match = _BLOCK.match(path)
            blocks.setdefault(match[0] if match else path, []).append(layer)
    parts: list[Part] = []
    stages: dict[str, int] = {}
    last_side = 0
    for path, layers in blocks.items():
        body = Body(tuple(layers), residual=any(layer.role == "shortcut" for layer in layers))
        match = _BLOCK.match(f"{path}.")
        stage = stages.setdefault(match["stage"], len(stages)) if match else None
        out_side = body.main[-1].out_side if body.main else last_side
        parts.append(Part(path, body, 1, stage, ends_scale=out_side < last_side))
        last_side = out_side
    return tuple(parts)


def _seen(model: nn.Module, picture: torch.Tensor) -> list[_Seen]:
    """Return the convolutions and linear layers of a model in the order they run, with their paths."""
    seen: list[_Seen] = []

    def hook(path: str) -> Any:
        def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen.append((path, _record(path, module, inputs[0], output)))

        return note

    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook(path))
    model(picture)
    return seen


def _record(path: str, module: nn.Module, entered: torch.Tensor, left: torch.Tensor) -> Layer:
    """Return a layer's record; what one output sees stands for the inputs where there are groups."""
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        flat = entered.dim() == 2
        side = 1 if flat else int(entered.shape[1])  # ConvNeXt's 1x1 convolutions, channels last
        kind: Operation = "linear" if flat else "conv"
        role: Role = "classifier" if flat else "main"
        return Layer(role, kind, module.in_features, module.out_features, side, norm=False, bias=bias)
    assert isinstance(module, nn.Conv2d)
    (kernel, _), (stride, _), out_side = module.kernel_size, module.stride, int(left.shape[2])
    depthwise = module.groups == module.in_channels > 1
    inputs = module.in_channels if depthwise else module.in_channels // module.groups
    return Layer(
        _role(path, int(entered.shape[2])), "conv", inputs, module.out_channels, out_side * stride, kernel, stride,
        depthwise=depthwise, norm=not bias, bias=bias,
    )  # fmt: skip


def _role(path: str, side: int) -> Role:
    if ".se." in path:
        return "gate"
    if "shortcut" in path or ("downsample" in path and _BLOCK.match(path)):
        return "shortcut"
    return "main" if side > 1 else "classifier"  # MobileNetV3's last convolution stands behind the pooling


TIMM_RESULTS = DataSet(
    "timm_results", "github.com/huggingface/pytorch-image-models", "% of top-1 accuracy, ImageNet", read
)
