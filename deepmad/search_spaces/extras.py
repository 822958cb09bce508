"""The commands that install what deepmad may use beside what it needs."""

from importlib.metadata import version

_TIED_TO_TORCH = frozenset({"tensorrt", "timm"})
"""Extras whose libraries fit one version of PyTorch each, torchvision and Torch-TensorRT."""


def installation(extra: str) -> str:
    """Return the command that installs an extra and leaves PyTorch as it is.

    Without the installed version pip takes the newest torchvision and, for it, the newest PyTorch of its index: a build
    for CUDA of several gigabytes in the place of one for CPUs. The version's local part (+cpu) is not needed.
    """
    kept = f" 'torch=={version('torch').partition('+')[0]}'" if extra in _TIED_TO_TORCH else ""
    return f"pip install 'deepmad[{extra}]'{kept}"
