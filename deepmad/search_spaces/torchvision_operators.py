"""torchvision where its own operators do not load: beside a CPU build of PyTorch pip installs a build for CUDA."""

import importlib
from types import ModuleType


def import_torchvision() -> ModuleType:
    """Import torchvision, also a build whose compiled operators this PyTorch cannot load.

    Its import looks two of them up, those of detection; no network for classification calls them, and timm imports
    torchvision for its images alone. They are declared here where they are missing, so that calling one raises, and not
    the import. Raises `ImportError` where torchvision is not installed, `RuntimeError` where something else is wrong.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    import torch

    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
