"""Bad inputs as the benchmark draws them: the same for the same seed, and what is wrong with their ends is found."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import onnx
import pytest
import yaml

from benchmarks.bad_inputs.bases import NETWORK
from benchmarks.bad_inputs.binaries import changed_onnx, changed_sqlite
from benchmarks.bad_inputs.documents import Changed, changed_document, changed_lines, changed_table
from benchmarks.bad_inputs.judging import faults, readable
from benchmarks.bad_inputs.options import changed_line
from benchmarks.bad_inputs.runner import Ran, Worker
from deepmad.cli.app import run
from deepmad.profilers.onnx_files.export import onnx_bytes
from tests.catalogue import EXAMPLES
from tests.tiny_tables import build_quickly

DOCUMENT = NETWORK.to_dict()
SPACE = yaml.safe_load((EXAMPLES / "small.yaml").read_text(encoding="utf-8"))
CSV = b"model,infer_img_size\nresnet18,224\nresnet34,224\n"
LINES = b"{Regular,1,16,8,8,16,3,1,0} 0.05\n"


def drawn(seed: int) -> list[Changed]:
    """Return a change of everything that is text, or a document."""
    return [
        changed_document(DOCUMENT, "json", random.Random(seed)),
        changed_document(SPACE, "yaml", random.Random(seed)),
        changed_table(CSV, random.Random(seed), ",", ("model",)),
        changed_lines(LINES, random.Random(seed)),
    ]


def test_the_same_seed_draws_the_same_inputs_and_each_is_changed() -> None:
    whole = [json.dumps(DOCUMENT, indent=1).encode(), yaml.safe_dump(SPACE, sort_keys=False).encode(), CSV, LINES]
    for seed in range(30):
        first, again = drawn(seed), drawn(seed)
        assert first == again
        assert [changed.content != good for changed, good in zip(first, whole, strict=True)].count(False) <= 1
        assert changed_line(random.Random(seed)) == changed_line(random.Random(seed))


@pytest.mark.parametrize("seed", range(3))
def test_networks_changed_in_one_place_are_shown_or_refused_in_one_line(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(60):
        changed = changed_document(DOCUMENT, "json", random.Random(f"{seed} {number}"))
        Path("network.json").write_bytes(changed.content)
        code = run(["show", "network.json", "--json"])
        printed = capsys.readouterr()
        ran = Ran(code, "ended", printed.out, printed.err, 0.0)
        named = ("network.json", changed.value)
        assert not faults(ran, ["--json"], changed.wanted, named, {}, {}), (
            number,
            changed.kind,
            changed.place,
            printed,
        )


def test_tables_and_onnx_files_are_changed_in_one_place(tmp_path: Path) -> None:
    build_quickly(tmp_path / "t.sqlite", networks=4, short=4)
    table, network = (tmp_path / "t.sqlite").read_bytes(), onnx_bytes(NETWORK)
    for seed in range(25):
        first, again = (changed_sqlite(table, random.Random(seed)) for _ in range(2))
        assert (first.kind, first.place) == (again.kind, again.place)
        assert first.content != table
        assert changed_onnx(network, random.Random(seed)) == changed_onnx(network, random.Random(seed))


GOOD = Ran(0, "ended", "{}", "", 0.1)
REFUSED = Ran(2, "ended", "", "error: x.json: --macs is wrong; mend it\n", 0.1)


@pytest.mark.parametrize(
    ("ran", "wanted", "fault"),
    [
        (GOOD, "any", None),
        (GOOD, "refused", "taken in silence"),
        (GOOD, "told", "taken in silence"),
        (Ran(0, "ended", "{}", "warning: 3 rows were left out\n", 0.1), "told", None),
        (Ran(0, "ended", '{"a": NaN}', "", 0.1), "any", "no JSON"),
        (REFUSED, "refused", None),
        (Ran(2, "ended", "", "error: it is wrong\n", 0.1), "refused", "names nothing"),
        (Ran(2, "ended", "", "error: x.json\nerror: x.json\n", 0.1), "refused", "not one line"),
        (Ran(2, "ended", "", f"error: x.json {'x' * 2000}\n", 0.1), "refused", "line too long"),
        (Ran(2, "ended", "", "error: x.json: \x1b[31mred\n", 0.1), "refused", "control characters"),
        (Ran(1, "traceback", "", "Traceback (most recent call last)\n", 0.1), "any", "traceback"),
        (Ran(120, "ended", "", "", 0.1), "any", "exit code"),
        (Ran(None, "hangs", "", "", 20.0), "any", "hangs"),
    ],
)
def test_what_is_wrong_with_an_end_is_found(ran: Ran, wanted: str, fault: str | None) -> None:
    found = faults(ran, ["show", "--json"], wanted, ("x.json",), {}, {})  # type: ignore[arg-type]
    assert found == ([] if fault is None else [fault])


@pytest.mark.parametrize(
    ("code", "before", "after", "fault"),
    [
        (0, {}, {"out.json": b"{}x"}, "half a file"),
        (0, {}, {"out.json": b'{"a": 1}'}, None),
        (0, {}, {".out.json.abc": b"{}"}, "file left behind"),
        (0, {}, {"t.sqlite-journal": b"x"}, "file left behind"),
        (2, {}, {"out.json": b"{}"}, "refused, and written"),
        (2, {"out.json": b"{}"}, {"out.json": b'{"a": 1}'}, "refused, and changed"),
        (0, {"x.json": b"{}"}, {}, "file lost"),
        (0, {}, {"zoo/.zoo/spec.json": b'{"a": 1}', "zoo/.zoo/lock": b""}, None),
    ],
)
def test_what_is_wrong_with_the_files_is_found(
    code: int, before: dict[str, bytes], after: dict[str, bytes], fault: str | None
) -> None:
    ran = GOOD if code == 0 else REFUSED
    assert faults(ran, ["show"], "any", ("x.json",), before, after) == ([] if fault is None else [fault])


def test_whole_files_of_every_kind_are_readable_and_cut_ones_are_not(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as connection:
        connection.execute("CREATE TABLE about (format TEXT)")
        connection.execute("INSERT INTO about VALUES ('deepmad/table@1')")
        connection.commit()
    table, network = (tmp_path / "t.sqlite").read_bytes(), onnx_bytes(NETWORK)
    onnx.load_model_from_string(network)
    whole = {
        "a.json": b'{"a": 1}',
        "a.csv": b"model,a\nx,1\n",
        "a.sqlite": table,
        "a.onnx": network,
        "a.py": b"a = 1\n",
    }
    for name, content in whole.items():
        assert readable(name, content), name
        assert not readable(name, content[: len(content) // 2 + 1]), name


def test_a_worker_tells_an_end_of_every_kind(tmp_path: Path) -> None:
    worker = Worker(tmp_path, 60.0)
    try:
        good = worker.run(tmp_path, ["schema", "space"])
        assert (good.code, good.end, json.loads(good.out)["type"]) == (0, "ended", "object")
        assert worker.run(tmp_path, ["schema", "zebra"]).code == 2
        assert worker.run(tmp_path, ["schema", "space"], apart=True).code == 0
        (tmp_path / "crash.py").write_text("import os\ndef net():\n    os.abort()\n", encoding="utf-8")
        assert worker.run(tmp_path, ["measure", "crash:net"]).end == "died of 6"
        assert worker.run(tmp_path, ["schema", "space"]).code == 0  # in another process
    finally:
        worker.close()
