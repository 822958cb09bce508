"""The cores that may be used: by affinity (taskset, Slurm, cpuset) and by the CPU quota of the cgroups (containers)."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Where the system's files are; tests make a root of their own."""


def allowed_cores() -> frozenset[int]:
    """Return the numbers of the cores on which this process may run, all of them where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def usable_cores(root: Path = ROOT) -> int:
    """Return how many cores this process may use: those it may run on, or its quota of their time if that is less.

    A part of a core counts as a whole one.
    """
    cores, quota = len(allowed_cores()), cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the cores' worth of time that the cgroups grant this process, None where they set no limit.

    Of a cgroup and those around it the least counts. Versions 1 and 2 are read; what cannot be read is no limit.
    """
    return min((quota for folder in _folders(root) for quota in _quotas(folder)), default=None)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroups that may limit its time, and of all around them that are visible."""
    paths = dict(_own_paths(_lines(root / "proc/self/cgroup")))
    for version, inner, place in _mounts(_lines(root / "proc/self/mountinfo")):
        if version not in paths:
            continue
        mounted, path = root / place.lstrip("/"), Path(paths[version])
        # In a container the mount may show a part of the tree only, and the path be that of the whole one.
        inside = path.relative_to(inner) if path.is_relative_to(inner) else path.relative_to("/")
        folder = mounted if ".." in inside.parts else mounted / inside
        while folder != mounted:
            yield folder
            folder = folder.parent
        yield mounted


def _lines(path: Path) -> list[str]:
    """Return the lines of a file, none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _own_paths(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the version and the path of this process's cgroups, from lines like `4:cpu,cpuacct:/a` and `0::/a`."""
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/") and (number == "0" or "cpu" in controllers.split(",")):
            yield (2 if number == "0" else 1), path


def _mounts(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield version, the cgroup that is shown, and the folder that shows it, of the trees that limit time."""
    for line in lines:
        before, _, after = line.partition(" - ")
        own, kind = before.split(), after.split()
        if len(own) < 5 or not kind:
            continue
        inner, place = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), own[part]) for part in (3, 4))
        if kind[0] == "cgroup2":
            yield 2, inner, place
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            yield 1, inner, place


def _quotas(folder: Path) -> Iterator[float]:
    """Yield the cores' worth of time that one cgroup grants, nothing where it sets no limit."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    found = [words] if len(words) == 2 else []
    found.append([*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")])
    for pair in found:
        if len(pair) == 2 and pair[0].strip().isdecimal() and pair[1].strip().isdecimal():  # else "max" or -1
            quota, period = int(pair[0]), int(pair[1])
            if quota > 0 and period > 0:
                yield quota / period
