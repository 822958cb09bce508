"""Turns: measurements of this machine's users that would disturb each other wait for each other.

A lock file in the temp folder has two bytes for every core, and for every GPU: who locks the first measures there, who
locks the second is next. The system gives up a process's locks when it ends, however that ends, and no child inherits
them. Processes with other temp folders (TMPDIR) know nothing of each other.
"""

import errno
import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from zlib import crc32

from deepmad.profilers.backends.telemetry import visible_gpu_uuid
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.search_spaces.errors import first_line
from deepmad.tasks.cores import allowed_cores

LOCK_FILE = "deepmad-measuring.lock"
POLL_SECONDS = 0.1
TOLD_SECONDS = 0.5
"""A wait that is shorter is not worth a line."""
_GPUS = 2**32
"""Where the bytes of GPUs begin, behind those of all cores."""
_MOST_ANCESTORS = 100
_LONGEST_NAME = 80


def places_of(processors: Iterable[str]) -> tuple[int, ...]:
    """Return what measurements on these processors ("cpu", "cuda") occupy, as numbers in the lock file, rising.

    On a CPU those are all cores that this process may use, on a GPU the GPU alone.
    """
    kinds = set(processors)
    cores = sorted(2 * core for core in allowed_cores()) if "cpu" in kinds else []
    gpu = [_GPUS + 2 * crc32((visible_gpu_uuid() or "").encode())] if "cuda" in kinds else []
    return (*cores, *gpu)


@dataclass
class _InThisProcess:
    """Who measures in this process: one thread at a time, whose measurements may hold others."""

    lock: RLock = field(default_factory=RLock)
    depth: int = 0


_HERE = _InThisProcess()


@contextmanager
def turn(places: Sequence[int], tell: Tell = untold, *, folder: Path | None = None) -> Iterator[str | None]:
    """Measure in a `with` block while no other process does on the same places; it waits for those before it.

    It yields None, or the sentence that says why others cannot be seen. A wait is told, with whom it is for, and can be
    interrupted. Inside a turn another one is had at once, and so is one in a process that this one started.
    """
    if not _HERE.lock.acquire(blocking=False):
        tell("waiting for another measurement of this program", lasting=True)
        _HERE.lock.acquire()
    try:
        _HERE.depth += 1
        with ExitStack() as stack:  # closing the file gives all locks back
            path = (folder or Path(tempfile.gettempdir())) / LOCK_FILE
            yield _taken(places, path, tell, stack) if _HERE.depth == 1 else None
    finally:
        _HERE.depth -= 1
        _HERE.lock.release()


def _taken(places: Sequence[int], path: Path, tell: Tell, stack: ExitStack) -> str | None:
    """Lock the places until `stack` is closed; return why that cannot be done."""
    try:
        descriptor = _opened(path)
        stack.callback(os.close, descriptor)
        _take(descriptor, places, tell)
    except OSError as error:  # some network file systems have no locks
        why = f"{path} cannot be locked ({error.strerror or first_line(error)})"
        return f"whether another deepmad measured at the same time is not known: {why}; set TMPDIR to another folder"
    return None


def _opened(path: Path) -> int:
    """Return the lock file opened; it is made where there is none, for every user to lock. Raises `OSError`."""
    flags = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileNotFoundError):
        return os.open(path, flags)  # not with O_CREAT: systems refuse that for a file of another user in /tmp
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # made by another process meanwhile
        return os.open(path, flags)
    os.fchmod(descriptor, 0o666)  # whatever the umask
    return descriptor


def _take(descriptor: int, places: Sequence[int], tell: Tell) -> None:
    """Wait until this process is the next one, then until the places are free. Raises `OSError`."""
    began, told = time.monotonic(), False
    try:
        for byte in (1, 0):
            wanted = [place + byte for place in places]
            while not _locked(descriptor, wanted):
                if not set(_ancestors()).isdisjoint(_holders(descriptor, places)):
                    return  # this process measures for that one
                if not told and time.monotonic() - began >= TOLD_SECONDS:
                    told = True
                    first = next(iter([*_holders(descriptor, places), *_holders(descriptor, wanted)]), None)
                    tell(f"waiting for {_named(first)}, which measures on the same {_kind(places)}", lasting=True)
                time.sleep(POLL_SECONDS)
    finally:
        for place in places:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place + 1)
    if told:
        tell(f"waited for {time.monotonic() - began:.0f} s")


def _locked(descriptor: int, wanted: Sequence[int]) -> bool:
    """Lock all wanted bytes, or none; return which. Raises `OSError` where the file cannot be locked at all."""
    for count, byte in enumerate(wanted):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            for held in wanted[:count]:
                fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, held)
            return False
    return True


def _holders(descriptor: int, wanted: Sequence[int]) -> Iterator[int]:
    """Yield the numbers of the processes that hold some of the bytes, as far as the system tells."""
    layout = "@hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, process
    if os.uname().sysname != "Linux" or struct.calcsize("P") != 8:
        return
    for byte in wanted:
        asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, process = struct.unpack(layout, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        if kind != fcntl.F_UNLCK and process > 0:  # 0 is one of another container
            yield process


def _ancestors() -> Iterator[int]:
    """Yield the processes that started this one, its parent first."""
    process = os.getppid()
    for _ in range(_MOST_ANCESTORS):
        yield process
        try:
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
            process = int(status.rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return
        if process == 0:
            return


def _named(process: int | None) -> str:
    """Return a process's number and its command, as far as the system tells."""
    if process is None:
        return "another process"
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []
    names = [Path(word).name if number < 2 else word for number, word in enumerate(words) if word]
    command = " ".join(names[1:] if names[:1] and names[0].startswith("python") else names)[:_LONGEST_NAME]
    return f"process {process}" + (f" ({command})" if command else "")


def _kind(places: Sequence[int]) -> str:
    return "GPU" if places and min(places) >= _GPUS else "cores"
