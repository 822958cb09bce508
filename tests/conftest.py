"""Fixtures that several test files use."""

import pytest


@pytest.fixture(scope="session")
def torchvision_operators() -> None:
    """Let torchvision's CUDA build, the only one on the registry, be imported beside a CPU build of PyTorch.

    Its import looks two operators up that its own library, which needs CUDA, would have defined.
    """
    import torch

    if torch.version.cuda is not None:
        return
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
