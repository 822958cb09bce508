"""A Ray cluster of several machines, which are simulated on this one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from deepmad.tasks.ray import temp_folder

NODE: dict[str, Any] = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
"""What every machine is given, beside its cores."""


@contextmanager
def ray_cluster(*cores: int, **head: Any) -> Iterator[Any]:
    """Yield a cluster of machines with so many cores each, the first one its head, which may be given more settings.

    Its `address`, in RAY_ADDRESS, is what a program joins it by.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import, which reads it
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray-", dir=temp_folder(), ignore_cleanup_errors=True) as folder:
        # `temp_dir` would not do: Ray would note this cluster's address in its default folder all the same, which a
        # machine without a Ray lacks, and where another Ray's address may stand.
        with patch.dict(os.environ, RAY_TMPDIR=folder):
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cores[0], **NODE, **head})
        try:
            for count in cores[1:]:
                cluster.add_node(num_cpus=count, **NODE)
            yield cluster
        finally:
            cluster.shutdown()
