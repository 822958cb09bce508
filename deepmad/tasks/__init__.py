"""Many independent calls, on processes of this machine or on a Ray cluster."""

from deepmad.search_spaces.errors import InputError, near, shown
from deepmad.tasks.cores import usable_cores
from deepmad.tasks.role import Done, Failed, Outcome, Tasks

__all__ = ["Done", "Failed", "Outcome", "Tasks", "check_place", "check_place_name", "open_tasks"]


def open_tasks(on: str = "local", workers: int | None = None) -> Tasks:
    """Return what does many independent calls, `workers` at a time; close it, or use it as a context manager.

    `on` is "local", processes of this machine (one worker without a time limit runs in this very process); "ray", the
    Ray that this program has joined or RAY_ADDRESS names, else one of its own on this machine; or "ray://HOST:PORT",
    the client port of a Ray cluster. `workers` defaults to the cores there.

    Raises `InputError` for another place, one that does not answer, and where Ray is not installed or does not start.
    """
    from deepmad.tasks.pool import Pool

    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} is below 1")
    check_place(on)
    if on == "local":
        from deepmad.tasks.local import Processes

        return Pool(Processes(), workers or usable_cores(), here=True)
    from deepmad.tasks.ray import Cluster

    cluster = Cluster(on, workers)
    return Pool(cluster, workers or cluster.cores)


def check_place(on: str) -> None:
    """Raise `InputError` where `open_tasks` could do nothing `on` a place, so that no long work is done before."""
    check_place_name(on)
    if on == "local":
        return
    from deepmad.tasks.ray import check_cluster

    check_cluster(on)


def check_place_name(on: str) -> None:
    """Raise `InputError` for what names no place at all."""
    if on not in ("local", "ray") and not str(on).startswith("ray://"):
        question = near(on, ("local", "ray"))
        raise InputError(f"on: {shown(on)} is no place to run{question}; choose local, ray or ray://HOST:PORT")
