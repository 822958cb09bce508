"""Table files of which one stored value was changed: one line of `InputError` or an answer."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.killed_builds import KEY
from deepmad.cli.app import run
from deepmad.profilers.importing.importing import import_profile, import_table
from deepmad.profilers.onnx_files.layer_names import named_layers
from deepmad.profilers.tables.table_files import Key, open_table
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows
from deepmad.search_spaces.errors import InputError
from tests.catalogue import one_block
from tests.test_imported_blocks import keys
from tests.test_imported_networks import lines
from tests.test_imported_tables import GOOD_LINE
from tests.tiny_tables import build_quickly

VALUES = (
    "",
    "text",
    "[]",
    "{}",
    "3",
    "null",
    "[[]]",
    '["a"]',
    "[0]",
    '{"a": 1}',
    0,
    -1,
    3.5,
    2**62,
    b"\xff\x00",
    "[" * 5000,
)
"""What a stored value is changed to."""
EVERY = 37
"""Of all changes one in so many is tried; all of them take minutes."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "built.sqlite"
    build_quickly(path, networks=12, short=6)
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with an imported table of every form."""
    folder = tmp_path_factory.mktemp("imported")
    path = folder / "imported.sqlite"
    (folder / "times.out").write_text("\n".join([GOOD_LINE, GOOD_LINE.replace("16,3", "32,3")]))
    (folder / "lut.yaml").write_text("".join(f"{key}: {{mean: {0.1 + index}}}\n" for index, key in enumerate(keys())))
    (folder / "timm.csv").write_text("\n".join(lines({2: 60})))
    for form, name in (("tinynas", "times.out"), ("ofa", "lut.yaml"), ("timm", "timm.csv")):
        import_table(folder / name, form, device="d", precision="fp32", output=path)
    network = one_block("basic")
    seconds = {name: 1e-5 for name, _ in named_layers(network)}
    import_profile(network, seconds, "p.json", device="d", precision="fp32", output=path)
    return path


def changes(path: Path) -> Iterator[tuple[str, str, object]]:
    """Yield every column of every table of a file with every value."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [(name, row[1]) for name in tables for row in connection.execute(f"PRAGMA table_info({name})")]
    for table, column in columns:
        for value in VALUES:
            yield table, column, value


def changed(path: Path, table: str, column: str, value: object) -> None:
    """Change a stored value in one row of a table."""
    with closing(sqlite3.connect(path)) as connection:
        command = f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT min(rowid) FROM {table})"
        with suppress(sqlite3.IntegrityError):
            connection.execute(command, (value,))
        connection.commit()


def priced(path: Path) -> None:
    """Load every table of a file and predict with it."""
    for conditions in [
        {name: one[name] for name in ("backend", "precision", "batch", "threads")} for one in described(path)
    ]:
        table = LatencyTable.load(path, **conditions)
        assert 0 < table.predict(one_block("basic")) < 1e4


def described(path: Path) -> list[dict[str, Any]]:
    found = describe_tables(path)
    json.dumps(found)
    return found


def refusal(use: Callable[[Path], object], path: Path) -> str:
    """Return the line that refuses a use of a file, or nothing."""
    try:
        use(path)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("origin", ["built", "imported"])
def test_a_changed_value_is_told_in_one_line(origin: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    good = request.getfixturevalue(origin).read_bytes()
    path, told = tmp_path / "t.sqlite", 0
    uses: list[Callable[[Path], object]] = [described, export_rows, priced]
    for table, column, value in [*changes(request.getfixturevalue(origin))][::EVERY]:
        path.write_bytes(good)
        changed(path, table, column, value)
        for use in uses:
            error = refusal(use, path)
            assert "\n" not in error
            assert not error or str(path) in error or "holds no time" in error, (table, column, value)
            told += bool(error)
    assert told > 10


@pytest.mark.parametrize("origin", ["built", "imported"])
def test_a_changed_entry_of_a_predictor_is_told(origin: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source, path = request.getfixturevalue(origin), tmp_path / "t.sqlite"
    path.write_bytes(source.read_bytes())
    for one in describe_tables(source):
        conditions = {name: one[name] for name in ("backend", "precision", "batch", "threads")}
        with open_table(path) as file:
            key = Key(**conditions)
            values: tuple[object, ...] = ("text", [], {}, -1, 2**70, True, None)
            fit = file.fit(key) or {}
            wanted = {name: value for name, value in fit.items() if name not in ("held_out", "interval", "kind")}
            for name, value in product(wanted, values):
                file.store_fit(key, fit | {name: value})
                with pytest.raises(InputError, match=f"is damaged: the predictor of {one['backend']}"):
                    LatencyTable.load(path, **conditions)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("series", "fit", "3", "the predictor of .* cannot be read \\(3 is no object\\)"),
        ("series", "fit", '{"sides": [8', "the predictor of .* cannot be read"),
        ("series", "fit", "", "the predictor of .* cannot be read"),
        ("series", "batch", "one", "what it holds cannot be read \\('one' is no whole number"),
        ("probes", "visits", "[]", "a probe of .* cannot be read \\(\\[\\] is no list with an entry\\)"),
        ("probes", "visits", "text", "a probe of .* cannot be read"),
        ("probes", "anchor", "[0.0]", "a probe of .* cannot be read \\(0.0 is not a finite number above 0\\)"),
        ("probes", "date", "yesterday", "a probe of .* cannot be read"),
        ("builds", "anchor", "{}", "the records of its build cannot be read"),
    ],
)
def test_every_command_names_what_is_damaged(
    table: str, column: str, value: str, message: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.sqlite"
    path.write_bytes(built.read_bytes())
    changed(path, table, column, value)
    assert run(["table", "show", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(f"{path}: is damaged: {message}", error)
    assert error.endswith("build or import it again elsewhere\n")


def test_a_build_does_not_go_on_with_a_damaged_table(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    path.write_bytes(built.read_bytes())
    changed(path, "probes", "visits", "[[]]")
    with pytest.raises(InputError, match=f"is damaged: a probe of {KEY.backend}"):
        build_quickly(path, networks=12, short=6)
