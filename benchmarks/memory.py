"""The memory of a process and of all that it started."""

import psutil


def tree_bytes(process: psutil.Process) -> int:
    """Return the memory of a process and its children, shared pages counted once (Linux: proportional set size)."""
    total = 0
    for each in (process, *_children(process)):
        try:
            total += each.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found
