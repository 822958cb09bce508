"""Calls on a Ray of several machines, which are simulated on this one: joined by address, and losing a machine."""

import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ray_cluster import NODE, ray_cluster
from deepmad.search_spaces.errors import InputError
from deepmad.tasks import Done, open_tasks
from deepmad.tasks.ray import temp_folder

PATIENCE_SECONDS = 120.0
LIMIT_SECONDS = 5.0
"""A limit for a call that hangs; the others need a fraction of it, on a machine that is busy too."""
PORTS = range(25_000, 32_000)
"""Linux hands out higher ones by itself, and Ray lower ones: what is free here stays free for a while."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="module")
def client_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def cluster(client_port: int) -> Iterator[Any]:
    """Yield a cluster: a head without cores for calls, and two machines of one core each."""
    pytest.importorskip("ray", exc_type=ImportError)
    with ray_cluster(0, 1, 1, ray_client_server_port=client_port) as cluster:
        yield cluster


def test_a_cluster_is_joined_from_outside(cluster: Any, client_port: int) -> None:
    with open_tasks(f"ray://127.0.0.1:{client_port}") as tasks:
        assert tasks.workers == 2
        outcomes = tasks.run_in_order(time.sleep, [0.0, 60.0, 0.0], seconds=LIMIT_SECONDS)
        assert [isinstance(outcome, Done) for outcome in outcomes] == [True, False, True]
    assert cluster.head_node is not None  # the cluster goes on


def test_a_server_that_did_not_start_is_asked_for_again(
    cluster: Any, client_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    join, calls = ray.init, list[str]()

    def unlucky(address: str, **settings: Any) -> Any:
        calls.append(address)
        if len(calls) == 1:
            raise ConnectionAbortedError("Initialization failure from server: Starting Ray client server failed.")
        return join(address, **settings)

    monkeypatch.setattr(ray, "init", unlucky)
    with open_tasks(f"ray://127.0.0.1:{client_port}") as tasks:
        (outcome,) = tasks.run_in_order(abs, [-1])
    assert isinstance(outcome, Done)
    assert outcome.value == 1
    assert len(calls) == 2
    assert cluster.head_node is not None


def test_a_lost_machine_loses_no_result(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_begun(count: int) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(list(tmp_path.iterdir())) < count:
            assert time.monotonic() < ends, "they never began"
            time.sleep(0.05)

    def call(item: int) -> int:
        (tmp_path / f"{item}-{os.getpid()}").touch()
        wait_for_begun(4 if item else 2)  # both workers are there; the fourth is the second try of the lost call
        return item

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with open_tasks("ray") as tasks:
        outcomes = tasks.run(call, range(3))
        found = [next(outcomes)]
        wait_for_begun(3)  # both other calls run now, one on each machine
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        cluster.add_node(num_cpus=1, **NODE)
        found += outcomes
    assert {index: outcome.value for index, outcome in found if isinstance(outcome, Done)} == {0: 0, 1: 1, 2: 2}


def test_what_times_out_is_told_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, calls = pytest.importorskip("ray", exc_type=ImportError), list[str]()

    def silent(address: str, **_: Any) -> None:
        calls.append(address)
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr(ray, "init", silent)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=r"cannot join the Ray there .*connection timeout"):
            open_tasks(address)
    assert calls == [address]


def test_a_ray_that_does_not_start_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a folder whose path is not absolute."""
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folders = list[Path]()

    def relative(**_: str) -> str:
        folders.append(Path("ray-folder"))
        folders[-1].mkdir()
        return str(folders[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", relative)
    with pytest.raises(InputError, match=r"no Ray starts on this machine .*absolute"):
        open_tasks("ray", 1)
    assert folders
    assert not folders[-1].exists()


def test_a_ray_without_a_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(InputError, match=r"no folder for its files .*/nowhere.*TMPDIR"):
        open_tasks("ray", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "too deep for the path of a socket"))
    assert temp_folder() == "/tmp"


@pytest.mark.parametrize("scheme", ["ray://", ""])
def test_an_address_where_no_ray_answers_is_told(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="no Ray answers there"):
        open_tasks("ray")
