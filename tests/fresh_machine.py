"""A machine on which nothing ever ran: a temp folder, a home and caches of the tests' own, empty at the start."""

import os
import shutil
import site
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from deepmad.tasks.local import AFTER_ALL_ELSE
from deepmad.tasks.ray import temp_folder

_FOLDERS = {
    "TMPDIR": "tmp",
    "HOME": "home",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
}
_LEADING_OUT = (
    "DEEPMAD_",
    "RAY_",
    "TORCHINDUCTOR_",
    "TRITON_",
    "MPLCONFIGDIR",
    "TORCH_HOME",
    "HF_",
    "PYTEST_DEBUG_TEMPROOT",
)
"""How the names begin of variables that lead programs to what lies elsewhere."""


def move_in() -> None:
    """Let this process and those that it starts live there; the folders are removed when it ends.

    They compute with one thread unless told otherwise: threads that wait for each other while others want the same
    cores, as other tests do, make the training of a network ten times as long.
    """
    threadpool_limits(1)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())  # where packages may be, which hangs on the home
    for name in [name for name in os.environ if name.startswith(_LEADING_OUT)]:
        del os.environ[name]
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # for more it starts a process, which imports PyTorch first
    os.environ["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"  # which pays from the second network on
    # Short names: the path of a Ray's socket under the temp folder has 107 characters at most.
    machine = Path(tempfile.mkdtemp(prefix="dm-", dir=temp_folder()))
    Finalize(None, shutil.rmtree, args=(machine,), kwargs={"ignore_errors": True}, exitpriority=AFTER_ALL_ELSE)
    for name, folder in _FOLDERS.items():
        (machine / folder).mkdir()
        os.environ[name] = str(machine / folder)
    tempfile.tempdir = None  # which Python looks up once
