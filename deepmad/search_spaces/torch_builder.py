"""The torch module of an architecture, assembled from the same layer records that count its costs."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Body, Layer

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid}


def _layer(layer: Layer, *, activate: bool = True) -> nn.Module:
    """Return the module of one record: the operation, its normalisation, its activation."""
    if layer.operation == "average_pool":
        return nn.AvgPool2d(layer.kernel, layer.stride)
    if layer.operation == "global_pool":
        return nn.AdaptiveAvgPool2d(1)
    if layer.operation == "linear":
        return nn.Sequential(nn.Flatten(1), nn.Linear(layer.inputs, layer.outputs, bias=layer.bias))
    groups = layer.inputs if layer.depthwise else 1
    convolution = nn.Conv2d(
        layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2, groups=groups, bias=layer.bias
    )
    modules: list[nn.Module] = [convolution]
    if layer.norm:
        modules.append(nn.BatchNorm2d(layer.outputs))
    if activate and layer.activation:
        modules.append(_ACTIVATIONS[layer.activation]())
    return nn.Sequential(*modules)


class _Gated(nn.Module):
    """A layer whose output is multiplied by what its gate makes of it (squeeze-excitation)."""

    def __init__(self, gate: Sequence[Layer]) -> None:
        super().__init__()
        self.gate = nn.Sequential(*(_layer(layer) for layer in gate))

    def forward(self, x: Tensor) -> Tensor:
        """Return x * gate(x); x is (N, C, H, W)."""
        weights: Tensor = self.gate(x)
        return x * weights


class _Block(nn.Module):
    """One body: its main path, and the shortcut added before the last activation."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        last = body.main[-1]
        path: list[nn.Module] = []
        layers = [layer for layer in body.layers if layer.role != "shortcut"]
        index = 0
        while index < len(layers):
            gate = []
            while index < len(layers) and layers[index].role == "gate":
                gate.append(layers[index])
                index += 1
            if gate:
                path.append(_Gated(gate))
                continue
            path.append(_layer(layers[index], activate=layers[index] is not last))
            index += 1
        self.main = nn.Sequential(*path)
        self.shortcut = (
            nn.Sequential(*(_layer(layer) for layer in body.layers if layer.role == "shortcut"))
            if body.residual
            else None
        )
        self.activation = _ACTIVATIONS[last.activation]() if last.activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, out, H / stride, W / stride)."""
        out = self.main(x)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        activated: Tensor = self.activation(out)
        return activated


class Network(nn.Module):
    """The network of an architecture: `stem`, `stages`, `tail` and `classifier`.

    With `features_only` the forward pass returns the feature maps at the ends of the scales, first to
    last (the last one after the tail), and there is no classifier.
    """

    def __init__(self, architecture: Architecture, *, features_only: bool = False) -> None:
        super().__init__()
        self.architecture = architecture.backbone() if features_only else architecture
        self.features_only = features_only
        parts = {part.name: part for part in self.architecture.parts()}
        self.stem = _Block(parts["stem"].body)
        self.stages = nn.ModuleList()
        self.ends_scale: list[bool] = []
        for index in range(len(architecture.stages)):
            first, later = parts[f"stages.{index}.0"], parts[f"stages.{index}.1"]
            blocks = [_Block(first.body), *(_Block(later.body) for _ in range(later.repeats))]
            self.stages.append(nn.Sequential(*blocks))
            self.ends_scale.append(first.ends_scale)
        self.tail = _Block(parts["tail"].body) if "tail" in parts else nn.Identity()
        self.classifier = (
            nn.Sequential(*(_layer(layer) for layer in parts["classifier"].body.layers))
            if "classifier" in parts
            else nn.Identity()
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Torch's own fan-out counts all channels of a depthwise convolution, though an input feeds one only.
                fan_out = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps (N, c_i, r_i, r_i) at the ends of the scales for images (N, C, H, W)."""
        found = []
        x = self.stem(x)
        for stage, ends_scale in zip(self.stages, self.ends_scale, strict=True):
            if ends_scale:
                found.append(x)
            x = stage(x)
        return [*found, self.tail(x)]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits (N, classes), the last feature map without a classifier, or the list of taps."""
        features = self.forward_features(x)
        if self.features_only:
            return features
        logits: Tensor = self.classifier(features[-1])
        return logits


def build(architecture: Architecture, *, features_only: bool = False) -> Network:
    """Return the torch module of `architecture`, randomly initialised (He, fan-out), in training mode.

    Its parameters and multiply-accumulates equal the records' exactly. Raises `InputError` where
    `architecture` is none.
    """
    if not isinstance(architecture, Architecture):
        raise InputError(f"build: {type(architecture).__name__} is no architecture; load one with Architecture.load")
    return Network(architecture, features_only=features_only)
