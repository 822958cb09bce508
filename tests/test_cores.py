"""The cores that may be used: affinity and the quotas of cgroups, of both versions, nested, in containers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmad.engine.solvers.settings import Auto, CpSat, Evolution, Rows
from deepmad.tasks import cores, open_tasks
from deepmad.tasks.cores import allowed_cores, cpu_quota, usable_cores
from deepmad.zoo.solving import crew_for
from deepmad.zoo.spec import SolverSettings
from tests.catalogue import ROOT

SECOND = "25 30 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw"
FIRST = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"


def system(root: Path, own: str, mounts: str, files: dict[str, str]) -> Path:
    """Return a root with the files of a system: a process's cgroups, what is mounted, and the limits by their paths."""
    for path, text in {"proc/self/cgroup": own, "proc/self/mountinfo": mounts, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("own", "mounts", "files", "quota"),
    [
        # version 2: a service, whose slice has less than itself
        (
            "0::/a.slice/b.service",
            SECOND,
            {
                "sys/fs/cgroup/a.slice/b.service/cpu.max": "400000 100000",
                "sys/fs/cgroup/a.slice/cpu.max": "150000 100000",
            },
            1.5,
        ),
        ("0::/a", SECOND, {"sys/fs/cgroup/a/cpu.max": "max 100000"}, None),
        # a container with a cgroup namespace of its own: the mount is its own cgroup
        ("0::/", SECOND, {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        # one without: path and mount are told as the host has them
        (
            "0::/docker/abc",
            "25 30 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw",
            {"sys/fs/cgroup/cpu.max": "300000 100000"},
            3.0,
        ),
        # a process moved out of its namespace
        ("0::/../other", SECOND, {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        # version 1
        (
            "4:memory:/x\n3:cpu,cpuacct:/jobs/7\n1:name=systemd:/",
            FIRST,
            {
                "sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        ("2:cpu:/x\n0::/", FIRST, {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "100000"}, None),
        # the folder's name has a blank, which mountinfo writes as octal
        (
            "0::/",
            "25 30 0:22 / /my\\040groups rw - cgroup2 cgroup rw",
            {"my groups/cpu.max": "100000 50000"},
            2.0,
        ),
        ("0::/", SECOND, {"sys/fs/cgroup/cpu.max": "nonsense"}, None),
        ("nonsense", "nonsense", {}, None),
    ],
)
def test_the_least_quota_of_all_cgroups_around_counts(
    own: str, mounts: str, files: dict[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "allowed_cores", lambda: frozenset(range(8)))
    root = system(tmp_path, own, mounts, files)
    assert cpu_quota(root) == quota
    assert usable_cores(root) == {None: 8, 0.5: 1, 1.5: 2, 2.0: 2, 2.5: 3, 3.0: 3}[quota]


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed_cores", lambda: frozenset({3}))
    root = system(tmp_path, "0::/", SECOND, {"sys/fs/cgroup/cpu.max": "800000 100000"})
    assert usable_cores(root) == 1
    assert usable_cores(tmp_path / "nothing") == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_a_process_held_to_one_core_takes_one_worker_everywhere() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tests.test_cores import defaults; print(defaults())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"1"}


def defaults() -> str:
    """Return how many workers everything takes that is not told a number."""
    from benchmarks.conditions import conditions

    crew = crew_for(SolverSettings(), "local", 1)
    found = [usable_cores(), len(allowed_cores()), crew.parallel, crew.workers, Evolution(islands=8).processes]
    found += [solver.info.workers for solver in (CpSat(), Auto(), Rows())]
    found.append(int(conditions()["machine"].rpartition(", ")[2].split()[0]))
    with open_tasks() as tasks:
        found.append(tasks.workers)
    return " ".join(map(str, found))


def test_nobody_else_counts_cores() -> None:
    for path in [*(ROOT / "deepmad").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert path.name in ("cores.py", "doctor.py") or "cpu_count" not in text, path
        assert path.name == "cores.py" or "sched_getaffinity" not in text, path
