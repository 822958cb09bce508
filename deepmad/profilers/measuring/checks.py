"""Whether what is timed is the network that was meant: its weights, its activations, what a runtime makes of it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from deepmad.profilers.backends import Runnable
    from deepmad.profilers.onnx_files.probing import Probe

VANISHING = 1e-30
"""Activations below it are, or soon become, numbers that processors are many times slower with (denormal ones)."""
AGREEMENT = 0.01
"""Outputs of two runtimes in fp32 differ by a smaller share of the largest output."""


def module_doubts(module: "nn.Module") -> Iterator[str]:
    """Yield the sentence that tells of a module's layers whose weights are all zero, if there are any."""
    weights = [one for name, one in module.named_parameters() if one.ndim > 1 or name.endswith("weight")]
    yield from _zero(sum(not bool(one.detach().any()) for one in weights), len(weights))


def probe_doubts(probe: "Probe") -> Iterator[str]:
    """Yield the sentences that tell of an ONNX file's layers whose weights or activations are zero or vanish."""
    yield from _zero(probe.zero_weights, probe.weights)
    sizes = {name: size for name, size in probe.largest.items() if size or not probe.zero_weights}
    odd = {name: told for name, size in sizes.items() if (told := _oddness(size)) is not None}
    if odd:
        name, told = next(iter(odd.items()))
        yield f"the activations of {len(odd)} of {len(probe.largest)} layers {told}, first in {name}; {_WAY_OUT}"


def output_doubts(outputs: Sequence[np.ndarray]) -> Iterator[str]:
    """Yield the sentence that tells of outputs that are zero, vanish or are not finite."""
    for output in outputs:
        told = _oddness(float(np.max(np.abs(output)))) if output.size else None
        if told is not None:
            yield f"its outputs {told}; {_WAY_OUT}"
            return


def runtime_doubts(
    runnable: "Runnable", outputs: Sequence[np.ndarray], probe: "Probe", name: str, precision: str
) -> Iterator[str]:
    """Yield a sentence where a runtime computes another network than ONNX Runtime does, by shapes or else by values."""
    for tensor, shape in getattr(runnable, "shapes", dict)().items():
        own = probe.sizes.get(tensor)
        if own is not None and tuple(shape) != own:
            told = " where it should be ".join("x".join(map(str, one)) for one in (shape, own))
            yield f"{name} computes another network: its {tensor} is {told}; choose another back end"
            return
    for output, expected in zip(outputs, probe.outputs, strict=False):
        if output.shape != expected.shape:
            yield f"{name} computes another network: its output is {output.shape}, not {expected.shape}"
        elif precision == "fp32" and expected.size and np.isfinite(expected).all():
            apart = float(np.max(np.abs(output - expected)) / (np.max(np.abs(expected)) or 1.0))
            if not apart <= AGREEMENT:
                yield (
                    f"{name} computes another network: its output is {apart:.1%} of the largest value away from ONNX "
                    "Runtime's; choose another back end"
                )


_WAY_OUT = "processors may take many times as long for such numbers; give it weights of a usual scale"


def _oddness(largest: float) -> str | None:
    """Return what is odd about the largest absolute number of a tensor."""
    if not np.isfinite(largest):
        return "are not finite"
    if largest == 0:
        return "are all zero"
    return f"vanish (at most {largest:.1e})" if largest < VANISHING else None


def _zero(zero: int, layers: int) -> Iterator[str]:
    if zero:
        yield f"the weights of {zero} of {layers} layers are all zero; trained ones may take another time"


def first_outputs(runnable: "Runnable", result: object) -> list[np.ndarray]:
    """Return the outputs of a network's first run as arrays, nothing where they are not at hand.

    `result` is what the run returned.
    """
    found: Any = runnable.outputs() if hasattr(runnable, "outputs") else result
    if isinstance(found, dict):
        found = list(found.values())
    several = found if isinstance(found, list | tuple) else [found]
    arrays = [one.detach().float().cpu().numpy() if hasattr(one, "detach") else np.asarray(one) for one in several]
    return [one for one in arrays if np.issubdtype(one.dtype, np.floating) and one.ndim]
