"""Builds of latency tables: their plans, time limits, failing probes, kills, a full disk."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.killed_builds import KEY, SPACE
from deepmad.profilers.backends import BACKENDS, Backend, Settings
from deepmad.profilers.backends.role import Runnable
from deepmad.profilers.building.building import Progress
from deepmad.profilers.building.chunks import ProbeSettings, measure_chunk, measure_chunk_apart, settings_of
from deepmad.profilers.building.pace import Pace
from deepmad.profilers.building.planning import (
    CANDIDATES,
    choose_networks,
    draw_candidates,
    essential,
    first_probes,
    round_size,
    slow_probes,
)
from deepmad.profilers.building.probes import at_resolution, draw_probes
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.prediction.rows import Row
from deepmad.profilers.tables.build_records import BuildRecords, FailedProbe, Planned
from deepmad.profilers.tables.table_files import open_table, text
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_macs
from tests.stand_ins import StandIn
from tests.tiny_tables import BUILD, KINDS, QUICK, Build, build_quickly, space

HOW = ProbeSettings(KEY, short=False, timer=QUICK)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "tiny.sqlite"
    build_quickly(path)
    return path


def copy(path: Path, folder: Path) -> Path:
    """Return a copy of a table that may be changed."""
    (folder / "copy.sqlite").write_bytes(path.read_bytes())
    return folder / "copy.sqlite"


def plan_of(path: Path) -> list[Planned]:
    with open_table(path) as file:
        return BuildRecords(file, KEY).planned()


def rows_of(path: Path) -> list[Row]:
    with open_table(path) as file:
        return file.rows(KEY)


def first_visits(rows: list[Row]) -> list[Row]:
    """Return rows as they were before the slow ones were measured again."""
    return [replace(row, visits=row.visits[: QUICK.visits], anchor=row.anchor[: QUICK.visits]) for row in rows]


def synthetic(network: Architecture, seconds: float, *, short: bool = False) -> Row:
    """Return a row as a quiet machine would give it."""
    return Row(network, short, [[seconds] * 3] * 2, [1.0] * 2, "2026-01-01T00:00:00+00:00", 0.0, 0.0, 0.0)


def test_every_round_follows_from_the_rows_before_it(built: Path) -> None:
    plan, rows = plan_of(built), first_visits(rows_of(built))
    assert {text(row.architecture) for row in rows} == {text(item.architecture) for item in plan}
    first = first_probes(space(), 0, 20, 20)
    assert {item.architecture for item in plan if item.round == 0} == {*first.networks, *first.short}
    assert max(item.round for item in plan) >= 2
    for number in range(1, plan[-1].round + 1):
        before = {text(item.architecture) for item in plan if item.round < number}
        known = [row for row in rows if text(row.architecture) in before]
        drawn = draw_candidates(space(), 0, number, CANDIDATES * round_size(20))
        left = [network for network in drawn if text(network) not in before]
        chosen = [item.architecture for item in plan if item.round == number]
        assert chosen == choose_networks(known, left, len(chosen))
        assert all(space().violations(network) == [] for network in chosen)


def test_networks_that_resemble_badly_predicted_ones_are_chosen() -> None:
    """One machine is exact but for networks with kernel 5, whose times nothing explains."""
    probes = draw_probes(space(), 1, 40, 0).networks

    def seconds(network: Architecture, index: int) -> float:
        odd = network.stages[0].kernel == 5
        return float(total_macs(network.parts())) * 1e-9 * ((3.0 if index % 2 else 1.0) if odd else 1.0)

    rows = [synthetic(network, seconds(network, index)) for index, network in enumerate(probes)]
    candidates = [network for network in draw_probes(space(), 2, 40, 0).networks if network not in probes]
    share = sum(network.stages[0].kernel == 5 for network in candidates) / len(candidates)
    chosen = choose_networks(rows, candidates, 8)
    assert len(set(chosen)) == 8
    assert set(chosen) <= set(candidates)
    assert share < 0.75
    assert sum(network.stages[0].kernel == 5 for network in chosen) >= 7


def test_few_rows_choose_nothing_and_few_candidates_are_all_taken() -> None:
    probes = draw_probes(space(), 1, 14, 0).networks
    rows = [synthetic(network, 1e-3) for network in probes[:12]]
    assert choose_networks(rows[:3], probes[12:], 1) == [probes[12]]
    assert set(choose_networks(rows, probes[12:], 5)) == set(probes[12:])
    assert choose_networks(rows, [], 5) == []


def test_out_of_time_a_table_still_prices_every_kind_of_layer(tmp_path: Path) -> None:
    path, seen = tmp_path / "short.sqlite", list[Progress]()
    build_quickly(path, time_limit=0.0, progress=seen.append)
    assert (seen[-1].done, seen[-1].seconds_left) == (seen[-1].total, 0.0)
    rows, plan = rows_of(path), plan_of(path)
    assert sum(row.short for row in rows) == KINDS
    assert sum(not row.short for row in rows) == 12
    assert {text(item.architecture) for item in essential(plan)} == {text(row.architecture) for row in rows}
    (described,) = describe_tables(path)
    assert described["finished"]
    assert described["measured"] < described["probes"]
    table = LatencyTable.load(path)
    assert all(table.predict(network) > 0 for network in draw_probes(space(), 7, 10, 10).networks)
    build_quickly(path)
    assert len(rows_of(path)) == len(plan_of(path)) > len(plan)
    assert {text(row.architecture): row.visits for row in rows}.items() <= {
        text(row.architecture): row.visits for row in first_visits(rows_of(path))
    }.items()


def test_only_probes_far_slower_than_their_fit_look_disturbed() -> None:
    rows = [
        synthetic(network, total_macs(network.parts()) * 1e-9 + 1e-3)
        for network in draw_probes(space(), 1, 40, 0).networks
    ]
    assert rows[7] not in slow_probes(rows, 2)
    slow = replace(rows[7], visits=[[1.5 * time for time in visit] for visit in rows[7].visits])
    fast = replace(rows[9], visits=[[time / 1.5 for time in visit] for visit in rows[9].visits])
    disturbed = [*rows[:7], slow, rows[8], fast, *rows[10:]]
    assert slow_probes(disturbed, 2)[0] == slow
    assert fast not in slow_probes(disturbed, 2)
    assert slow not in slow_probes(disturbed, 1)  # it was visited twice as often already
    assert slow_probes(disturbed[:9], 2) == []  # too few to tell


def test_a_probe_that_looks_disturbed_is_measured_once_more(built: Path, tmp_path: Path) -> None:
    path = copy(built, tmp_path)
    rows = first_visits(rows_of(path))
    index = next(index for index, row in enumerate(rows) if not row.short)
    rows[index] = replace(rows[index], visits=[[4 * time for time in visit] for visit in rows[index].visits])
    with open_table(path) as file, file.turn():
        for row in rows:
            file.put(KEY, row)
    told = list[Progress]()
    build_quickly(path, progress=told.append)
    assert any(progress.again for progress in told)
    again = {row.architecture: row for row in rows_of(path)}  # with those of another round, perhaps
    assert all(again[row.architecture].visits[: QUICK.visits] == row.visits for row in rows)
    disturbed = again[rows[index].architecture]
    assert len(disturbed.visits) == len(disturbed.anchor) == 2 * QUICK.visits
    assert min(map(min, disturbed.visits)) < min(map(min, rows[index].visits))
    build_quickly(path)
    assert rows_of(path) == list(again.values())


def test_progress_tells_the_time_left(tmp_path: Path) -> None:
    seen = list[Progress]()
    build_quickly(tmp_path / "tiny.sqlite", progress=seen.append)
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert [one.seconds for one in seen] == sorted(one.seconds for one in seen)
    assert seen[0].seconds_left is not None
    assert seen[0].seconds_left > 0
    assert seen[0].within_10_percent is None
    assert any(one.within_10_percent is not None for one in seen)
    stored = [architecture for one in seen for architecture in one.stored]
    assert sorted(stored) == sorted(text(row.architecture) for row in rows_of(tmp_path / "tiny.sqlite"))


def test_the_pace_tells_kinds_apart() -> None:
    pace = Pace(0.25)
    assert pace.seconds_left(1, 1) is None
    pace.add(4, 2.0, short=True)
    assert pace.seconds_left(3, 2) == 3 * 2.0 + 2 * 0.5
    pace.add(2, 10.0, short=False)
    assert pace.seconds_left(3, 2) == 3 * 5.0 + 2 * 0.5


def test_the_forecast_counts_rounds_to_come_and_probes_to_measure_again() -> None:
    pace = Pace(0.25)
    assert pace.seconds_to_end(1, 1, 1, (1, 1)) is None
    pace.add(4, 4.0, short=False)
    guessed = pace.seconds_to_end(10, 0, 3, (20, 0))
    assert guessed is not None
    assert guessed > 10.0
    pace.planned(2.0, slow=0.5)
    assert pace.seconds_to_end(10, 0, 3, (20, 0)) == 10.0 + 0.5 * 20.0 + 3 * 2.0
    pace.planned(4.0, slow=0.0)
    assert pace.seconds_to_end(10, 0, 2, (20, 0)) == 10.0 + 2 * 3.0


class Failing(StandIn):
    """A back end that fails on some networks: while it prepares them, or once they have run for a while."""

    def __init__(self, inner: Backend, prepares: Any, runs: Any) -> None:
        super().__init__(inner)
        self.prepares, self.runs = prepares, runs

    def prepare(self, model: Any, settings: Settings) -> Runnable:
        if self.prepares(model):
            raise DeviceError("the engine cannot be built\nsome detail")
        runnable = self.inner.prepare(model, settings)
        return FailingRun(runnable) if self.runs(model) else runnable


class FailingRun:
    """A network whose third run fails."""

    def __init__(self, inner: Runnable) -> None:
        self.inner, self.left = inner, 2

    def run(self) -> object:
        self.left -= 1
        if self.left < 0:
            raise MemoryError("out of memory")
        return self.inner.run()

    def close(self) -> None:
        self.inner.close()


def test_failing_probes_cost_a_row_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "failing.sqlite", BACKENDS["onnxruntime"]
    probes = first_probes(space(), 0, 20, 20)
    broken, exhausted = (network for network in probes.networks[:3] if network != probes.anchor)
    short = probes.short[0]
    failing = Failing(real, lambda network: network in (broken, short), lambda network: network == exhausted)
    monkeypatch.setitem(BACKENDS, "onnxruntime", failing)
    seen = list[Progress]()
    build_quickly(path, progress=seen.append)
    assert seen[-1].failed == 3
    assert seen[-1].done == seen[-1].total == len(plan_of(path))
    assert len(rows_of(path)) == len(plan_of(path)) - 3
    with open_table(path) as file:
        failures = {item.architecture: (item.short, item.reason) for item in BuildRecords(file, KEY).failures()}
    assert failures == {
        broken: (False, "the engine cannot be built"),
        short: (True, "the engine cannot be built"),
        exhausted: (False, "out of memory"),
    }
    (described,) = describe_tables(path)
    assert (described["failed"], described["finished"]) == (3, True)
    assert described["failures"] == ["out of memory", "the engine cannot be built"]
    monkeypatch.setitem(BACKENDS, "onnxruntime", real)
    build_quickly(path)
    assert describe_tables(path)[0]["failed"] == 3
    build_quickly(path, retry_failed=True)
    assert describe_tables(path)[0]["failed"] == 0
    assert len(rows_of(path)) == len(plan_of(path))


def test_a_failing_anchor_or_back_end_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, anchor = BACKENDS["onnxruntime"], first_probes(space(), 0, 5, 0).anchor
    prepared = count()
    cases = [
        (lambda network: network == anchor, lambda _: False, "engine cannot be built"),
        (lambda _: False, lambda network: network == anchor, "out of memory"),
        (lambda _: next(prepared) > 0, lambda _: False, "all .* probes failed.*engine cannot be built"),
    ]
    for number, (prepares, runs, reason) in enumerate(cases):
        monkeypatch.setitem(BACKENDS, "onnxruntime", Failing(real, prepares, runs))
        with pytest.raises((DeviceError, MemoryError), match=reason):
            build_quickly(tmp_path / f"{number}.sqlite", networks=5, short=0)


def test_a_device_that_fails_for_good_is_told_from_networks_that_fail() -> None:
    real = BACKENDS["onnxruntime"]
    anchor, *others = draw_probes(space(), 0, 5, 0).networks
    run = FailingRun(real.prepare(anchor, settings_of(anchor, KEY))).run  # which fails from the third time on
    failing = Failing(real, lambda _: True, lambda _: False)
    chunk = measure_chunk(failing, run, others[:2], HOW)
    assert [failed.architecture for failed in chunk.failures] == others[:2]
    with pytest.raises(DeviceError, match=r"out of memory: the device failed for good; --isolated"):
        measure_chunk(failing, run, others[2:], HOW)


class Crowded(Failing):
    """A back end with room for the anchor and two networks beside it."""

    def __init__(self, inner: Backend) -> None:
        self.guests = 0
        super().__init__(inner, lambda _: self.guests >= 3, lambda _: False)

    def prepare(self, model: Any, settings: Settings) -> Runnable:
        runnable = super().prepare(model, settings)
        self.guests += 1
        return Guest(runnable, self)


class Guest:
    """A network that leaves its room when it is closed."""

    def __init__(self, inner: Runnable, host: Crowded) -> None:
        self.host, self.run, self._close = host, inner.run, inner.close

    def close(self) -> None:
        self.host.guests -= 1
        self._close()


def test_networks_without_room_beside_the_others_come_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, crowded = tmp_path / "crowded.sqlite", Crowded(BACKENDS["onnxruntime"])
    monkeypatch.setitem(BACKENDS, "onnxruntime", crowded)
    build_quickly(path, networks=6, short=6)
    assert len(rows_of(path)) == len(plan_of(path))
    assert (describe_tables(path)[0]["failed"], crowded.guests) == (0, 0)


SUSPECTS = """
import os
from deepmad.search_spaces.architectures import Architecture

class Aborting(Architecture):
    def parts(self):
        os.abort()
"""


def test_apart_a_crash_costs_one_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suspects.py").write_text(SUSPECTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from suspects import Aborting  # type: ignore[import-not-found]

    anchor, good = draw_probes(space(), 0, 2, 0).networks
    crashing = Aborting(**{name: getattr(good, name) for name in good.__dataclass_fields__})
    chunk = measure_chunk_apart(anchor, [good, crashing], HOW)
    assert [row.architecture for row in chunk.rows] == [good]
    (failed,) = chunk.failures
    assert (failed.architecture, failed.reason) == (crashing, "its process died: killed by SIGABRT")
    with pytest.raises(DeviceError, match=r"beside.*SIGABRT"):
        measure_chunk_apart(crashing, [good], HOW)


def test_a_table_may_be_built_in_processes_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "apart.sqlite"
    build_quickly(path, networks=2, short=0, isolated=True)
    assert len(rows_of(path)) == len(plan_of(path)) == 2
    assert LatencyTable.load(path).space == "tiny"


def test_another_side_of_the_input(tmp_path: Path) -> None:
    larger = at_resolution(space(), 64)
    assert larger.limits.macs == 4 * (space().limits.macs or 0)
    assert (larger.limits.params, larger.name) == (space().limits.params, "tiny")
    with pytest.raises(InputError, match="33"):
        at_resolution(space(), 33)
    path = tmp_path / "larger.sqlite"
    from deepmad.profilers.building.building import build_table

    build_table(larger, path, networks=3, short=2, timer=QUICK)
    assert describe_tables(path)[0]["resolution"] == 64
    assert {row.architecture.resolution for row in rows_of(path) if not row.short} == {64}
    with pytest.raises(InputError, match="resolution 64, not 32"):
        build_quickly(path, networks=3, short=2)


def older(path: Path) -> None:
    """Take away what older versions did not store."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("builds", "plans", "failures", "gpu_watches"):
            connection.execute(f"DROP TABLE {name}")


def test_a_table_of_an_older_version_is_read_and_kept(built: Path, tmp_path: Path) -> None:
    path = copy(built, tmp_path)
    older(path)
    before = export_rows(path)
    assert LatencyTable.load(path) == replace(LatencyTable.load(built), resolution=None)
    (described,) = describe_tables(path)
    assert described["finished"]
    assert "failed" not in described
    build_quickly(path)
    assert export_rows(path) == before
    assert describe_tables(path)[0]["failed"] == 0


def test_an_unfinished_table_of_an_older_version_gets_the_probes_it_was_to_have(tmp_path: Path) -> None:
    path = tmp_path / "older.sqlite"
    probes = draw_probes(space(), 0, 20, 20)
    build_quickly(path, time_limit=0.0)
    older(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE series SET fit = NULL")
    before = {text(row.architecture) for row in rows_of(path)}
    build_quickly(path)
    wanted = {text(network) for network in (*probes.networks, *probes.short)}
    assert {text(row.architecture) for row in rows_of(path)} == wanted | before


def test_the_gpus_warnings_are_told(built: Path, tmp_path: Path) -> None:
    path = copy(built, tmp_path)
    with open_table(path) as file, file.turn():
        for warnings in (["hot"], [], ["hot", "throttled"]):
            BuildRecords(file, KEY).add_gpu_summary("date", {"name": "H100", "driver": "580", "warnings": warnings})
    (described,) = describe_tables(path)
    assert described["gpu"] == {"name": "H100", "driver": "580"}
    assert {"hot", "throttled"} <= set(described["warnings"])  # beside those of the machine that built it
    assert described["warnings"].count("hot") == 1


def test_a_probe_cannot_fail_twice(built: Path, tmp_path: Path) -> None:
    with open_table(copy(built, tmp_path)) as file:
        failed = FailedProbe(file.rows(KEY)[0].architecture, False, "reason", "date")
        with file.turn():
            BuildRecords(file, KEY).add_failure(failed)
        assert BuildRecords(file, KEY).failures() == [failed]
        with pytest.raises(sqlite3.IntegrityError), file.turn():
            BuildRecords(file, KEY).add_failure(replace(failed, reason="another"))


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_killed_builds_lose_no_row_and_keep_their_plan(tmp_path: Path) -> None:
    path = tmp_path / "killed.sqlite"
    rows, plan = dict[str, Any](), list[Planned]()
    for chunks in (1, 13, 7):  # architectures to wait for: the first chunk of short probes has 5, others have 12
        builds = [Build(path, 0.03) for _ in range(2)]
        reported = [told for _ in range(chunks) if (told := builds[0].told())]
        for build in builds:
            reported += build.kill()
        assert sound(path)
        found = {text(row.architecture): row.visits for row in rows_of(path)}
        assert set(reported) <= set(found)
        assert all(found[architecture][: len(visits)] == visits for architecture, visits in rows.items())
        assert plan_of(path)[: len(plan)] == plan
        rows, plan = found, plan_of(path)
    build_quickly(path)
    assert sound(path)
    final = {text(row.architecture): row.visits for row in rows_of(path)}
    assert all(final[architecture][: len(visits)] == visits for architecture, visits in rows.items())
    assert list(final) == sorted(text(item.architecture) for item in plan_of(path))


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (int({bytes}), resource.RLIM_INFINITY))\n"


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "full.sqlite"
    build_quickly(path, time_limit=0.0)
    before = export_rows(path)
    limited = (
        FULL.format(bytes=path.stat().st_size + 6000)
        + "from deepmad.search_spaces.errors import InputError\ntry:\n"
        + "".join(f"    {line}\n" for line in BUILD.splitlines())
        + "except InputError as error:\n    sys.exit(str(error))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", limited, SPACE, str(path), "0.004"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "free some space" in process.stderr
    assert sound(path)
    kept = {row["architecture"]: row["times"] for row in export_rows(path)}
    assert {row["architecture"]: row["times"] for row in before}.items() <= kept.items()
    build_quickly(path)
    assert len(rows_of(path)) == len(plan_of(path))


def test_a_build_that_is_refused_leaves_the_file_as_it_was(built: Path, tmp_path: Path) -> None:
    """Where the records of another build are left and only its series is gone, too."""
    path = copy(built, tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM series")
    before = path.read_bytes()
    with pytest.raises(InputError, match="choose another file"):
        build_quickly(path, networks=99, short=99)
    assert path.read_bytes() == before
