"""Everything there is to say about one architecture without solving or measuring anything."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from deepmad.engine.program.entropy import entropy, rho, scales
from deepmad.engine.program.objectives import ObjectiveName, objective_value
from deepmad.search_spaces.architectures import Architecture, Stage
from deepmad.search_spaces.layers import (
    Part,
    by_stage,
    main_elements,
    peak_activation_elements,
    total,
    total_macs,
    total_params,
)
from deepmad.search_spaces.spaces import default_alpha

FP32_BYTES = 4


def summary(network: Architecture, *, beta: float = 10.0) -> dict[str, Any]:
    """Return the figures of `network` as `deepmad show --json` prints them.

    Entropies are in nats, with DeepMAD's default weights of the scales (`alpha`), objectives with the weight `beta` of
    the penalty on depths; `activations` are the output elements of
    main-path layers for one image, `activation_bytes` the peak for one fp32 image; costs of the stages are MACs,
    parameters and the side of the output in pixels.
    """
    parts = network.parts()
    backbone = network.backbone().parts()
    found = scales(parts)
    alpha = default_alpha(len(found))
    nats = float(entropy(found, alpha))
    depths = [stage.depth for stage in network.stages]
    mean = sum(depths) / len(depths)

    def objective(name: ObjectiveName) -> float:
        return float(objective_value(name, nats, depths, network.stages[0].block, beta))

    return {
        "name": network.name,
        "resolution": network.resolution,
        "classes": network.classes,
        "entropy": nats,
        "scale_entropies": [float(scale.entropy) for scale in found],
        "scale_rhos": [float(scale.effectiveness) for scale in found],
        "rho": float(rho(found)),
        "depth_variance": sum((depth - mean) ** 2 for depth in depths) / len(depths),
        "main_path_depth": int(found[-1].depth),
        "macs": int(total_macs(parts)),
        "params": int(total_params(parts)),
        "backbone_macs": int(total_macs(backbone)),
        "backbone_params": int(total_params(backbone)),
        "activations": int(total(parts, main_elements)),
        "activation_bytes": int(peak_activation_elements(parts)) * FP32_BYTES,
        "alpha": list(alpha),
        "beta": beta,
        "objective_paper": objective("paper"),
        "objective_reference": objective("reference"),
        "stem": asdict(network.stem),
        "stages": list(map(_stage, network.stages, by_stage(parts, len(network.stages)))),
        "tail": asdict(network.tail) if network.tail else None,
    }


def _stage(stage: Stage, parts: Sequence[Part]) -> dict[str, Any]:
    """Return a stage's settings with the costs of its parts, as integers."""
    return asdict(stage) | {
        "side": int(parts[-1].body.main[-1].out_side),
        "macs": int(total_macs(parts)),
        "params": int(total_params(parts)),
    }
