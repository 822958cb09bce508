"""What a run is asked for; the same options have to be given to every piece of it."""

from dataclasses import dataclass
from pathlib import Path

MODELS = (
    "published:r18",
    "published:r50",
    "published:29m-224",
    "published:50m",
    "torchvision:resnet18",
    "torchvision:resnet34",
    "torchvision:resnet50",
    "timm:efficientnet_b0",
)
"""The authors' structures that the tests hold, and the networks they are compared with."""


@dataclass(frozen=True)
class Options:
    """Where results go, what is measured, and for how long.

    The first back end that works gets everything first; the first batch is the one that networks are designed for.
    `seconds` is the timing of one network, `solve_seconds` one solve, `total_seconds` the whole run,
    `piece_seconds` one call. `probes` whole networks make a table, fewer where its time is up.
    `together` runs everything in one process: quicker, but a crash is the end of the call.
    """

    output: Path
    backends: tuple[str, ...] = ("torch:cuda", "tensorrt-onnx", "tensorrt")
    precision: str = "fp16"
    space: str = "r50"
    batches: tuple[int, ...] = (64, 1)
    models: tuple[str, ...] = MODELS
    factors: tuple[float, ...] = (1.1, 1.5, 2.0, 3.0)
    networks: int = 40
    probes: int = 100
    resolution: int | None = None
    seconds: float = 0.4
    solve_seconds: float = 10.0
    total_seconds: float = 1500.0
    piece_seconds: float = 520.0
    together: bool = False
