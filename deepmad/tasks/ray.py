"""Workers on a Ray cluster: actors, each a process of its own on a machine that has a core free."""

import logging
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from deepmad.search_spaces.errors import InputError, first_line
from deepmad.tasks.calls import call_packed
from deepmad.tasks.cores import usable_cores
from deepmad.tasks.pool import STARTED, Lost

OBJECT_STORE_BYTES = 100 * 2**20
"""For the functions, items and values of a few calls at a time; Ray would take a third of the memory."""
ANSWER_SECONDS = 5.0
"""Time for a cluster's port to answer; Ray itself would try for more than a minute."""
LONGEST_FOLDER = 23
"""Most bytes of the folder that a Ray's own is made in: the path of a socket, 84 bytes longer, may have 107."""
JOINS = 3
"""Attempts at joining: of some sixty, Ray's head failed to start its server for the client in three."""


class _Caller:
    """What an actor does."""

    def start(self) -> bytes:
        """Answer as soon as the actor runs."""
        return STARTED

    def call(self, function: bytes, item: bytes) -> bytes:
        """Do a packed call."""
        return call_packed(function, item)


@dataclass(eq=False)
class ActorWorker:
    """An actor that does one call at a time, and the reference to the message it owes."""

    actor: Any
    message: Any

    def begin(self, function: bytes, item: bytes) -> None:
        """Let it do a packed call."""
        self.message = self.actor.call.remote(function, item)

    def dismiss(self) -> None:
        """Do nothing: an actor holds nothing that Ray does not give back."""

    def end(self) -> None:
        """Kill it; Ray finds it dead or alive."""
        import ray

        ray.kill(self.actor)


class Cluster:
    """A Ray as a place of workers, which `check_cluster` has nothing against; `cores` is how many it has.

    Raises `InputError` where it cannot be joined.
    """

    def __init__(self, on: str, workers: int | None) -> None:
        import ray

        self._leave = _enter(on, workers)
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Calls whose actor is lost are run again by the pool, which counts how often, and not by Ray.
        self._callers: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Caller)

    def start(self) -> ActorWorker:
        """Return a worker that is being started: where and when, says Ray."""
        actor = self._callers.remote()
        return ActorWorker(actor, actor.start.remote())

    def wait(self, workers: Sequence[ActorWorker], seconds: float | None) -> dict[ActorWorker, bytes | Lost]:
        """Return all messages that are there, waiting for a first one for `seconds`."""
        import ray

        owed = {worker.message: worker for worker in workers}
        ray.wait(list(owed), num_returns=1, timeout=seconds)
        ready, _ = ray.wait(list(owed), num_returns=len(owed), timeout=0)
        return {owed[message]: _received(message) for message in ready}

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._leave()


def check_cluster(on: str) -> None:
    """Raise `InputError` where Ray is not installed, or none answers at the address."""
    _set_environment()  # before the import, which reads some of it
    try:
        import ray
    except ImportError as error:
        raise InputError(f"on: {on} needs Ray, which is not installed: pip install 'deepmad[ray]'") from error
    joined = on == "ray" and ray.is_initialized()
    if not joined and (address := _address(on)) is not None:
        _check_answers(address)


def temp_folder() -> str:
    """Return the folder for temporary files, or /tmp where a Ray's sockets would lie too deep under it."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_FOLDER else "/tmp"


def _received(message: Any) -> bytes | Lost:
    """Return a message that is there, or how the actor was lost that owed it."""
    import ray

    try:
        content: bytes = ray.get(message)
    except ray.exceptions.RayError as error:
        return Lost(first_line(error))
    return content


def _enter(on: str, workers: int | None) -> Callable[[], None]:
    """Join a Ray or start one; return what leaves it again."""
    import ray

    if on == "ray" and ray.is_initialized():
        return lambda: None  # whoever joined it in this program leaves it
    address = _address(on)
    if address is None:
        return _start(workers)
    for left in reversed(range(JOINS)):
        try:
            with _own_signals():
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
            ray.shutdown()  # else this program would stay half a client, which can join nothing
            if left and isinstance(error, ConnectionAbortedError):  # what timed out does so again, half a minute later
                continue
            raise InputError(
                f"{address}: cannot join the Ray there ({first_line(error)}); see docs/machines.md"
            ) from error
        break
    return ray.shutdown


def _address(on: str) -> str | None:
    """Return the address of the Ray to join; None where one is to be started."""
    address = os.environ.get("RAY_ADDRESS", "") if on == "ray" else on
    return None if address in ("", "local") else address


def _start(workers: int | None) -> Callable[[], None]:
    """Start a Ray for this program alone, reached from this machine only; return what ends it.

    Raises `InputError` where it does not start.
    """
    import ray

    _set_token()
    folder = _new_folder()

    def end() -> None:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)

    try:
        with _own_signals():
            ray.init(
                "local",
                num_cpus=workers or usable_cores(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,  # standard output belongs to the caller
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
    except Exception as error:  # Ray raises plain ones, too
        end()
        raise InputError(
            f"on: no Ray starts on this machine ({first_line(error)}); run on local, or start one by hand and name it "
            "in RAY_ADDRESS (docs/machines.md)"
        ) from error
    except BaseException:  # an interrupt
        end()
        raise
    return end


def _new_folder() -> str:
    """Return a new folder for a Ray's files; raises `InputError` where there can be none."""
    try:
        return tempfile.mkdtemp(prefix="ray-", dir=temp_folder())
    except OSError as error:
        raise InputError(
            f"on: Ray has no folder for its files ({first_line(error)}); name a short one in TMPDIR, or run on local"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this program does on SIGTERM: Ray puts an exit of its own in that place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if current_thread() is main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _set_environment() -> None:
    """Tell Ray, where the user does not, what it takes from the environment alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers see the GPUs, as processes of this machine do; Ray warns of the other setting, which it will give up.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def _set_token() -> None:
    """Give Ray a token for this process, where the user has none.

    Else Ray would write one into the user's home for good, and ask every machine that joins a later Ray for it.
    """
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's raises where there is none
    if "RAY_AUTH_TOKEN_PATH" not in os.environ and not Path(home, ".ray", "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _check_answers(address: str) -> None:
    """Raise `InputError` for an address of no known form, or a port where nothing answers."""
    if address == "auto":  # Ray looks for one on this machine
        return
    if (found := re.fullmatch(r"(?:ray://)?([^\s:/]+):(\d{1,5})", address)) is None:
        raise InputError(
            f"{address!r} is no address of a Ray; choose ray://HOST:PORT (the port is 10001 by default), or "
            "HOST:PORT or auto in RAY_ADDRESS"
        )
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{address}: no Ray answers there ({first_line(error)}); start one with ray start --head, or run on local"
        ) from error
