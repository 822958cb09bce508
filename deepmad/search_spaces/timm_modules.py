"""A network under timm's contract for its models, made from plain tables of its layers.

PyTorch and timm are all that it needs: a file written for timm (`standalone.py`) holds this very text.
"""

from typing import Any

import torch
from torch import Tensor, nn

from deepmad.search_spaces.torch_modules import Block, Network, NetworkSpec, adapted, feature_info
from deepmad.search_spaces.torchvision_operators import import_library

import_library("timm")  # whatever build of torchvision stands beside this PyTorch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402
from timm.layers.classifier import create_classifier  # noqa: E402
from timm.layers.drop import DropPath  # noqa: E402
from timm.models import build_model_with_cfg, checkpoint_seq  # noqa: E402
from timm.models._features import feature_take_indices  # noqa: E402


class TimmNetwork(Network):
    """A network as `timm.create_model` makes it: another head, other images, taps, gradient checkpointing.

    `drop_rate` drops pooled features, `drop_path_rate` residual blocks, rising from none at the first block. With
    `zero_init_last` every residual block starts as its shortcut, as in timm's ResNets.
    """

    def __init__(
        self,
        cfg: NetworkSpec,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_last: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        headless = adapted(cfg, num_classes=0, in_chans=in_chans, global_pool="")
        super().__init__(headless, zero_init_last=zero_init_last)
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.num_features: int = self.feature_info[-1]["num_chs"]
        blocks = [module for module in self.stages.modules() if isinstance(module, Block)]
        for index, block in enumerate(blocks):
            rate = drop_path_rate * index / max(1, len(blocks) - 1)
            if rate and block.shortcut is not None:
                block.main.append(DropPath(rate))
        self.reset_classifier(num_classes, global_pool)
        self.to(device=device, dtype=dtype)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Make a new classifier; 0 classes give the pooled features, an empty `global_pool` beside that the map."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        pool, linear = create_classifier(self.num_features, num_classes, pool_type=self.global_pool)
        self.head_hidden_size: int = self.num_features * pool.feat_mult()
        # The names are those of the layer records: the pool, then what flattens (the pool does here) and multiplies.
        self.classifier = nn.Sequential(pool, nn.Sequential(nn.Identity(), linear))
        weight = next(self.stem.parameters())
        self.classifier.to(weight.device, weight.dtype).train(self.training)

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Return the linear layer, or its name."""
        name = "classifier.1.1"
        return name if name_only else self.get_submodule(name)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the blocks' inputs for the backward pass, and compute the rest again."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that group the parameters by block, or by stage where `coarse`."""
        last = (r"^tail", (99999,))  # timm's number for the group before
        if coarse:
            return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)", None), last]}
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)\.(\d+)", None), last]}

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map (N, num_features, h, w) for images (N, C, H, W)."""
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():  # type: ignore[attr-defined]
            x = checkpoint_seq(self.stages, x, flatten=True)
        else:
            x = self.stages(x)
        last: Tensor = self.tail(x)
        return last

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits for the last feature map, or the pooled features."""
        x = self.classifier[0](x)
        if self.drop_rate > 0.0:
            x = nn.functional.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.classifier[1](x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, num_classes) for images (N, C, H, W), or what a reset classifier leaves."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those at `indices` (the last n, or all), in the order asked for.

        With `stop_early` nothing after the last of them is computed. `norm` is timm's and has nothing to do here.
        """
        del norm
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r}: a convolutional network gives NCHW")
        taken, last = feature_take_indices(len(self.feature_info), indices)
        maps = []
        x = self.stem(x)
        for stage, ends_scale in zip(self.stages, self.ends_scale, strict=True):
            if ends_scale:
                maps.append(x)
                if stop_early and len(maps) > last:
                    break
            x = checkpoint_seq(stage, x) if self.grad_checkpointing else stage(x)
        else:
            x = self.tail(x)
            maps.append(x)
        found = [maps[index] for index in taken]
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the feature maps at `indices` do not need; return their numbers, counted from the first map."""
        del prune_norm
        taken, last = feature_take_indices(len(self.feature_info), indices)
        ends = [index for index, ends_scale in enumerate(self.ends_scale) if ends_scale]
        if last < len(ends):
            self.stages, self.tail = nn.Sequential(*list(self.stages)[: ends[last]]), nn.Identity()
            self.ends_scale = self.ends_scale[: ends[last]]
            self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or last < len(ends):
            self.reset_classifier(0, "")
        return list(taken)


def timm_network(spec: NetworkSpec, name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return what `timm.create_model(name, pretrained, **kwargs)` gives: the network, or its feature maps alone."""
    taps = {"out_indices": tuple(range(len(feature_info(spec)))), "flatten_sequential": True}
    taps |= kwargs.pop("feature_cfg", {})
    model: nn.Module = build_model_with_cfg(TimmNetwork, name, pretrained, model_cfg=spec, feature_cfg=taps, **kwargs)
    return model


def timm_cfg(spec: NetworkSpec) -> dict[str, Any]:
    """Return what timm knows of a model beside its weights: images, how they are prepared, first and last layer."""
    channels = spec.stem.layers[0].inputs
    side = spec.resolution // feature_info(spec)[-1]["reduction"]
    return {
        "num_classes": spec.classifier[-1].outputs if spec.classifier else 0,
        "input_size": (channels, spec.resolution, spec.resolution),
        "pool_size": (side, side),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": IMAGENET_DEFAULT_MEAN if channels == 3 else (0.5,) * channels,
        "std": IMAGENET_DEFAULT_STD if channels == 3 else (0.5,) * channels,
        "first_conv": "stem.main.0.0",
        "classifier": "classifier.1.1",
    }
