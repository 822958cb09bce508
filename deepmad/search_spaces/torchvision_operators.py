"""torchvision where its own operators do not load: beside a CPU build of PyTorch pip installs a build for CUDA.

timm cannot be imported without torchvision.
"""

import importlib
from typing import Any

from deepmad.search_spaces.errors import first_line
from deepmad.search_spaces.extras import installation


def import_library(name: str) -> Any:
    """Import torchvision, a part of it, or timm; see `import_torchvision`.

    Raises `ImportError`, in one line with the way out, where the library is missing or broken in another way.
    """
    try:
        import_torchvision()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{name}: not installed ({first_line(error)}): {installation('timm')}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(
            f"{name}: installed but broken ({first_line(error)}); install the build that matches this PyTorch "
            "(deepmad doctor)"
        ) from error


def import_torchvision() -> None:
    """Import torchvision, also a build whose compiled operators this PyTorch cannot load.

    Its import looks two of them up, those of detection; no network for classification calls them, and timm imports
    torchvision for its images alone. They are declared here where they are missing, so that calling one raises, and not
    the import. Raises `ImportError` where torchvision is not installed, `RuntimeError` where something else is wrong.
    """
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    import torch

    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")


def operators_load() -> bool:
    """Return whether the operators of torchvision, which can be imported, run here."""
    import torch

    try:
        importlib.import_module("torchvision.ops").nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    except (RuntimeError, NotImplementedError):
        return False
    return True
