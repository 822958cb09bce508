"""deepmad_r18_cpu_fp32_b1_12p56ms, designed by deepmad 0.1.0; needs PyTorch only.

The method is that of https://arxiv.org/abs/2303.02165.

Images (N, 3, 224, 224) to logits (N, 1000);
572,191,744 multiply-accumulates an image, 6,971,896 parameters.

    stem      out 16, kernel 3, stride 2
    stages.0  block bottleneck, out 64, width 16, kernel 5, depth 1, stride 2
    stages.1  block bottleneck, out 96, width 16, kernel 5, depth 1, stride 2
    stages.2  block bottleneck, out 320, width 48, kernel 5, depth 7, stride 2
    stages.3  block bottleneck, out 432, width 48, kernel 5, depth 7, stride 1
    stages.4  block bottleneck, out 800, width 80, kernel 5, depth 15, stride 2

    from deepmad_r18_cpu_fp32_b1_12p56ms import network

    model = network()                            # with random weights: logits (N, 1000)
    model = network(num_classes=10, in_chans=1, global_pool="avg")
    backbone = network(features_only=True)       # a list of feature maps; backbone.feature_info tells their channels

Weights of `deepmad.build`, as `deepmad export --to weights` writes them, fit:

    model.load_state_dict(safetensors.torch.load_file("deepmad_r18_cpu_fp32_b1_12p56ms.safetensors"))   # after: import safetensors.torch
"""

import math
from typing import Any, NamedTuple

from torch import Tensor, nn


class LayerSpec(NamedTuple):
    """One layer: an operation from `inputs` to `outputs` channels with its normalisation, bias and activation.

    `role` is "main", "gate" (its result multiplies what entered the gate), "shortcut" or "classifier"; `operation` is
    "conv", "average_pool", "global_pool" or "linear".
    """

    role: str
    operation: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    norm: bool = True
    bias: bool = False
    activation: str | None = None


class BlockSpec(NamedTuple):
    """A block, `repeats` times in a row: its layers in the order they run, its input added where `residual`."""

    layers: tuple[LayerSpec, ...]
    residual: bool = False
    repeats: int = 1

    @property
    def outputs(self) -> int:
        """Channels that leave the block."""
        return [layer.outputs for layer in self.layers if layer.role == "main"][-1]

    @property
    def stride(self) -> int:
        """By how much all the repeats together divide the side."""
        return int(math.prod(layer.stride for layer in self.layers if layer.role == "main") ** self.repeats)


class StageSpec(NamedTuple):
    """A stage of blocks; `ends_scale` says that the map entering it is the last of its side, a feature map."""

    blocks: tuple[BlockSpec, ...]
    ends_scale: bool = False


class NetworkSpec(NamedTuple):
    """A network for square images of `resolution` pixels; no `classifier` layers leave the last feature map."""

    resolution: int
    stem: BlockSpec
    stages: tuple[StageSpec, ...]
    tail: BlockSpec | None
    classifier: tuple[LayerSpec, ...]


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid}


def layer_module(layer: LayerSpec, *, activate: bool = True) -> nn.Module:
    """Return the module of one layer; a linear one without outputs only flattens."""
    if layer.operation == "average_pool":
        return nn.AvgPool2d(layer.kernel, layer.stride)
    if layer.operation == "global_pool":
        return nn.AdaptiveAvgPool2d(1)
    if layer.operation == "linear":
        linear = nn.Linear(layer.inputs, layer.outputs, bias=layer.bias) if layer.outputs else nn.Identity()
        return nn.Sequential(nn.Flatten(1), linear)
    groups = layer.inputs if layer.depthwise else 1
    convolution = nn.Conv2d(
        layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2, groups=groups, bias=layer.bias
    )
    modules: list[nn.Module] = [convolution]
    if layer.norm:
        modules.append(nn.BatchNorm2d(layer.outputs))
    if activate and layer.activation:
        modules.append(ACTIVATIONS[layer.activation]())
    return nn.Sequential(*modules)


class Gated(nn.Module):
    """What enters, multiplied by what the gate makes of it (squeeze-excitation)."""

    def __init__(self, gate: list[LayerSpec]) -> None:
        super().__init__()
        self.gate = nn.Sequential(*(layer_module(layer) for layer in gate))

    def forward(self, x: Tensor) -> Tensor:
        """Return x * gate(x); x is (N, C, H, W)."""
        weights: Tensor = self.gate(x)
        return x * weights


class Block(nn.Module):
    """A block: its main path with the gates on it, and the shortcut added before the last activation."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        layers = [layer for layer in spec.layers if layer.role != "shortcut"]
        last = max(index for index, layer in enumerate(layers) if layer.role == "main")
        path: list[nn.Module] = []
        gate: list[LayerSpec] = []
        self.last = 0
        for index, layer in enumerate(layers):
            if layer.role == "gate":
                gate.append(layer)
                if index + 1 == len(layers) or layers[index + 1].role != "gate":
                    path.append(Gated(gate))
                    gate = []
                continue
            if index == last:
                self.last = len(path)
            path.append(layer_module(layer, activate=index != last))
        self.main = nn.Sequential(*path)
        shortcut = [layer_module(layer) for layer in spec.layers if layer.role == "shortcut"]
        self.shortcut = nn.Sequential(*shortcut) if spec.residual else None
        activation = layers[last].activation
        self.activation = ACTIVATIONS[activation]() if activation else nn.Identity()

    def zero_init_last(self) -> None:
        """Let a residual block start as its shortcut: the scale of its last main normalisation becomes zero.

        Deep networks train better so (Goyal et al., arXiv 1706.02677, section 5.1).
        """
        if self.shortcut is None:
            return
        for module in self.main[self.last].modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, out, H / stride, W / stride)."""
        out: Tensor = self.main(x)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        activated: Tensor = self.activation(out)
        return activated


class Network(nn.Module):
    """A network: `stem`, `stages`, `tail` and `classifier`, with random weights (He, fan-out), in training mode.

    With `features_only` the forward pass returns the feature maps at the ends of the scales, first to last (the last
    one after the tail), and there is no classifier. `feature_info` tells their channels (`num_chs`) and by how much
    their side is smaller than the image's (`reduction`). With `zero_init_last` every residual block starts as its
    shortcut, for training; such a network must not be timed, since compilers may drop branches that are zero.
    """

    def __init__(self, spec: NetworkSpec, *, features_only: bool = False, zero_init_last: bool = False) -> None:
        super().__init__()
        self.features_only = features_only
        self.feature_info = feature_info(spec)
        self.ends_scale = [stage.ends_scale for stage in spec.stages]
        self.stem = Block(spec.stem)
        self.stages = nn.Sequential()
        for stage in spec.stages:
            blocks = [Block(block) for block in stage.blocks for _ in range(block.repeats)]
            self.stages.append(nn.Sequential(*blocks))
        self.tail = Block(spec.tail) if spec.tail is not None else nn.Identity()
        classifier = () if features_only else spec.classifier
        self.classifier = nn.Sequential(*(layer_module(layer) for layer in classifier))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Torch's own fan-out counts all channels of a depthwise convolution, though an input feeds one only.
                fan_out = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
            elif isinstance(module, Block) and zero_init_last:
                module.zero_init_last()

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps (N, c_i, r_i, r_i) at the ends of the scales for images (N, C, H, W)."""
        found = []
        x = self.stem(x)
        for stage, ends_scale in zip(self.stages, self.ends_scale, strict=True):
            if ends_scale:
                found.append(x)
            x = stage(x)
        return [*found, self.tail(x)]

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map for images (N, C, H, W)."""
        x = self.stages(self.stem(x))
        last: Tensor = self.tail(x)
        return last

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits (N, classes), the last feature map without a classifier, or the list of feature maps."""
        if self.features_only:
            return self.feature_maps(x)
        logits: Tensor = self.classifier(self.forward_features(x))
        return logits


def feature_info(spec: NetworkSpec) -> list[dict[str, Any]]:
    """Return channels, reduction and the module's name of every feature map, in timm's words."""
    found: list[dict[str, Any]] = []
    name, channels, reduction = "stem", spec.stem.outputs, spec.stem.stride
    for index, stage in enumerate(spec.stages):
        if stage.ends_scale:
            found.append({"num_chs": channels, "reduction": reduction, "module": name})
        name, channels = f"stages.{index}", stage.blocks[-1].outputs
        reduction *= math.prod(block.stride for block in stage.blocks)
    if spec.tail is not None:
        name, channels, reduction = "tail", spec.tail.outputs, reduction * spec.tail.stride
    return [*found, {"num_chs": channels, "reduction": reduction, "module": name}]


def adapted(spec: NetworkSpec, *, num_classes: int, in_chans: int, global_pool: str = "avg") -> NetworkSpec:
    """Return `spec` for other classes and images, in timm's words; `spec` has a classifier.

    0 classes leave the pooled features (N, C), and an empty `global_pool` beside that the last feature map
    (N, C, H, W). Raises `ValueError` for any other pooling, and for a classifier without any.
    """
    if global_pool != "avg" and (global_pool or num_classes):
        raise ValueError(f"global_pool={global_pool!r}: it must be 'avg', or '' with num_classes=0")
    first, *others = spec.stem.layers
    stem = spec.stem._replace(layers=(first._replace(inputs=in_chans), *others))
    head = [layer._replace(outputs=num_classes) if layer.operation == "linear" else layer for layer in spec.classifier]
    return spec._replace(stem=stem, classifier=tuple(head) if global_pool else ())


NETWORK = NetworkSpec(
    resolution=224,
    stem=BlockSpec(layers=(LayerSpec("main", "conv", 3, 16, kernel=3, stride=2, activation="relu"),)),
    stages=(
        StageSpec(
            blocks=(
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 16, 16, activation="relu"),
                        LayerSpec("main", "conv", 16, 16, kernel=5, stride=2, activation="relu"),
                        LayerSpec("main", "conv", 16, 64, activation="relu"),
                        LayerSpec("shortcut", "average_pool", 16, 16, kernel=2, stride=2, norm=False),
                        LayerSpec("shortcut", "conv", 16, 64),
                    ),
                    residual=True,
                ),
            ),
            ends_scale=True,
        ),
        StageSpec(
            blocks=(
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 64, 16, activation="relu"),
                        LayerSpec("main", "conv", 16, 16, kernel=5, stride=2, activation="relu"),
                        LayerSpec("main", "conv", 16, 96, activation="relu"),
                        LayerSpec("shortcut", "average_pool", 64, 64, kernel=2, stride=2, norm=False),
                        LayerSpec("shortcut", "conv", 64, 96),
                    ),
                    residual=True,
                ),
            ),
            ends_scale=True,
        ),
        StageSpec(
            blocks=(
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 96, 48, activation="relu"),
                        LayerSpec("main", "conv", 48, 48, kernel=5, stride=2, activation="relu"),
                        LayerSpec("main", "conv", 48, 320, activation="relu"),
                        LayerSpec("shortcut", "average_pool", 96, 96, kernel=2, stride=2, norm=False),
                        LayerSpec("shortcut", "conv", 96, 320),
                    ),
                    residual=True,
                ),
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 320, 48, activation="relu"),
                        LayerSpec("main", "conv", 48, 48, kernel=5, activation="relu"),
                        LayerSpec("main", "conv", 48, 320, activation="relu"),
                    ),
                    residual=True,
                    repeats=6,
                ),
            ),
            ends_scale=True,
        ),
        StageSpec(
            blocks=(
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 320, 48, activation="relu"),
                        LayerSpec("main", "conv", 48, 48, kernel=5, activation="relu"),
                        LayerSpec("main", "conv", 48, 432, activation="relu"),
                        LayerSpec("shortcut", "conv", 320, 432),
                    ),
                    residual=True,
                ),
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 432, 48, activation="relu"),
                        LayerSpec("main", "conv", 48, 48, kernel=5, activation="relu"),
                        LayerSpec("main", "conv", 48, 432, activation="relu"),
                    ),
                    residual=True,
                    repeats=6,
                ),
            ),
        ),
        StageSpec(
            blocks=(
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 432, 80, activation="relu"),
                        LayerSpec("main", "conv", 80, 80, kernel=5, stride=2, activation="relu"),
                        LayerSpec("main", "conv", 80, 800, activation="relu"),
                        LayerSpec("shortcut", "average_pool", 432, 432, kernel=2, stride=2, norm=False),
                        LayerSpec("shortcut", "conv", 432, 800),
                    ),
                    residual=True,
                ),
                BlockSpec(
                    layers=(
                        LayerSpec("main", "conv", 800, 80, activation="relu"),
                        LayerSpec("main", "conv", 80, 80, kernel=5, activation="relu"),
                        LayerSpec("main", "conv", 80, 800, activation="relu"),
                    ),
                    residual=True,
                    repeats=14,
                ),
            ),
            ends_scale=True,
        ),
    ),
    tail=None,
    classifier=(
        LayerSpec("classifier", "global_pool", 800, 800, norm=False),
        LayerSpec("classifier", "linear", 800, 1000, norm=False, bias=True),
    ),
)


def network(
    num_classes: int = 1000,
    in_chans: int = 3,
    features_only: bool = False,
    global_pool: str = "avg",
    zero_init_last: bool = False,
) -> Network:
    """Return the network with random weights, in training mode.

    0 classes leave the pooled features (N, C), and an empty `global_pool` beside that the last map (N, C, H, W).
    `zero_init_last` helps training deep networks: every residual block starts as its shortcut.
    """
    spec = adapted(NETWORK, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
    return Network(spec, features_only=features_only, zero_init_last=zero_init_last)
