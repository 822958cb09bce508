"""Calls on a Ray of several machines, which are simulated on this one: joined by address, and losing a machine."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ray_cluster import NODE, ray_cluster
from deepmad.search_spaces.errors import InputError
from deepmad.tasks import Done, open_tasks

PATIENCE_SECONDS = 60.0
# Ray leaves it to the garbage collector to close its log files, and its processes to the system.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file .*ray:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
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
        outcomes = tasks.run_in_order(time.sleep, [0.0, 60.0, 0.0], seconds=1.0)
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


@pytest.mark.parametrize("scheme", ["ray://", ""])
def test_an_address_where_no_ray_answers_is_told(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="no Ray answers there"):
        open_tasks("ray")
