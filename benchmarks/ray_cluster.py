"""A Ray cluster of several machines, which are simulated on this one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE: dict[str, Any] = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
"""What every machine is given, beside its cores."""


@contextmanager
def ray_cluster(*cores: int, **head: Any) -> Iterator[Any]:
    """Yield a cluster of machines with so many cores each, the first one its head, which may be given more settings.

    Its `address`, in RAY_ADDRESS, is what a program joins it by.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import, which reads it
    from ray.cluster_utils import Cluster

    # The path of a socket has 107 characters at most, so that the folder must not be deep.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        first = {"num_cpus": cores[0], "temp_dir": folder, **NODE, **head}
        cluster = Cluster(initialize_head=True, head_node_args=first)
        try:
            for count in cores[1:]:
                cluster.add_node(num_cpus=count, **NODE)
            yield cluster
        finally:
            cluster.shutdown()
