"""Calls on a Ray of several machines, which are simulated on this one: joined by address, and losing a machine."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmad.search_spaces.errors import InputError
from deepmad.tasks import Done, open_tasks

PATIENCE_SECONDS = 60.0


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
    from ray.cluster_utils import Cluster

    common = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "ray_client_server_port": client_port, **common}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1, **common)
            yield cluster
        finally:
            cluster.shutdown()


def test_a_cluster_is_joined_from_outside(cluster: Any, client_port: int) -> None:
    with open_tasks(f"ray://127.0.0.1:{client_port}") as tasks:
        assert tasks.workers == 2
        outcomes = tasks.run_in_order(time.sleep, [0.0, 60.0, 0.0], seconds=1.0)
        assert [isinstance(outcome, Done) for outcome in outcomes] == [True, False, True]
    assert cluster.head_node is not None  # the cluster goes on


def test_a_lost_machine_loses_no_result(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_the_loss(item: int) -> int:
        (tmp_path / f"begun-{item}-{os.getpid()}").touch()
        ends = time.monotonic() + PATIENCE_SECONDS
        while item and not (tmp_path / "lost").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        return item

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with open_tasks("ray") as tasks:
        outcomes = tasks.run(wait_for_the_loss, range(3))
        found = [next(outcomes)]
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(list(tmp_path.iterdir())) < 3:  # both other calls run now, one on each machine
            assert time.monotonic() < ends
            time.sleep(0.05)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        (tmp_path / "lost").touch()
        found += outcomes
    assert {index: outcome.value for index, outcome in found if isinstance(outcome, Done)} == {0: 0, 1: 1, 2: 2}
    assert len(list(tmp_path.glob("begun-*"))) == 4


def test_an_address_where_no_ray_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="no Ray answers there"):
        open_tasks("ray")
