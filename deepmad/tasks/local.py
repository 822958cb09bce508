"""Workers on this machine: a process each, which the others outlive."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.util import Finalize
from threading import Thread, Timer
from types import FrameType

from loky.backend import get_context

from deepmad.tasks.calls import call_packed
from deepmad.tasks.pool import STARTED, Lost

WATCH_SECONDS = 1.0
"""How often a worker looks whether the process that started it still lives, and the other way round."""
PATIENCE_SECONDS = 5.0
"""How long a worker that is let go may take to end."""
GRACE_SECONDS = 2.0
"""How long a worker goes on after SIGTERM, which its parent has probably got as well."""
LEAVE = b""
"""Stands where a function would: there is no other call."""
AFTER_ALL_ELSE = -1000
"""The priority of the last finalizer of a process; those of multiprocessing itself have -100 at the least."""


class ProcessWorker:
    """A process that does one call at a time.

    It starts afresh: it shares no CUDA context and no library's state with this one or another. It ends where this
    process does, however that ends.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._ended = False
        # A process of loky takes functions and modules of the caller's script, and does not run that script again.
        self._process = get_context("loky").Process(target=_serve, args=(theirs, os.getpid()))
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.exitcode is None

    def begin(self, function: bytes, item: bytes) -> None:
        """Let it do a packed call."""
        with suppress(OSError):  # it has died meanwhile, as `message` tells
            self.connection.send_bytes(function)
            self.connection.send_bytes(item)

    def message(self) -> bytes | Lost:
        """Return the message that is there, or how a worker ended that leaves none."""
        with suppress(EOFError, OSError):
            if self.connection.poll():
                return self.connection.recv_bytes()
        self.end()
        return Lost(_end(self._process.exitcode))

    def dismiss(self) -> None:
        """Let it end by itself: one that is killed leaves named semaphores behind, as progress bars have them."""
        with suppress(OSError):  # it has died meanwhile
            self.connection.send_bytes(LEAVE)
        self.connection.close()

    def end(self) -> None:
        """Kill it, with the processes that it started."""
        if self._ended:
            return
        if self.connection.closed:
            wait([self._process.sentinel], PATIENCE_SECONDS)
        self._ended = True
        pid = self._process.pid
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet, or has ended
            if self.alive:
                os.kill(pid, signal.SIGKILL)
        self._process.join()
        self.connection.close()


class Processes:
    """This machine as a place of workers."""

    def start(self) -> ProcessWorker:
        """Return a worker that is being started."""
        return ProcessWorker()

    def wait(self, workers: Sequence[ProcessWorker], seconds: float | None) -> dict[ProcessWorker, bytes | Lost]:
        """Return all messages that are there, waiting for a first one for `seconds`, or until it is time to look."""
        patience = WATCH_SECONDS if seconds is None else min(WATCH_SECONDS, seconds)
        ready = set(wait([worker.connection for worker in workers], patience))
        # A process that a worker started may hold the connection of a dead worker open, which then tells nothing.
        return {worker: worker.message() for worker in workers if worker.connection in ready or not worker.alive}

    def close(self) -> None:
        """Leave the place: nothing is held but the workers."""


def _leave_to_parent(_number: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end this process, unless the one that started it gets it too, and ends this one in its own way.

    A service or a batch job sends it to all processes at once; a worker that died of it first would be taken for one
    whose call cannot be done.
    """

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    timer = Timer(GRACE_SECONDS, os._exit, (128 + signal.SIGTERM,))
    timer.daemon = True
    timer.start()


def _serve(connection: Connection, parent: int) -> None:
    """Do the calls that come, one after the other, until it is let go or the other end closes: what a worker does."""
    signal.signal(signal.SIGTERM, _leave_to_parent)
    os.setpgid(0, 0)  # a group to be killed as a whole, and which a terminal does not interrupt
    with suppress(OSError):  # there may be no standard error
        os.dup2(2, 1)  # standard output belongs to the program, which may write a document there
    Thread(target=_end_with, args=(parent,), name="end-with-parent", daemon=True).start()
    with suppress(EOFError, OSError):
        connection.send_bytes(STARTED)
        while (function := connection.recv_bytes()) != LEAVE:
            connection.send_bytes(call_packed(function, connection.recv_bytes()))
    # What has a name outside this process is given back now. Then it ends at once: to tear down all libraries that
    # the calls have loaded would take long, and some crash.
    Finalize(None, os._exit, args=(0,), exitpriority=AFTER_ALL_ELSE)


def _end_with(parent: int) -> None:
    """End this process and its group as soon as its parent is gone: nobody waits for its result any more."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _end(exit_code: int | None) -> str:
    """Return in words how a process ended."""
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
