"""CSV files: texts that a spreadsheet would run are texts; names of any kind in the names of files."""

import csv
import io
from pathlib import Path

import pytest

from deepmad.cli.app import run
from deepmad.profilers.tables.own_tables import default_table
from deepmad.search_spaces.csv_files import csv_text
from tests.catalogue import EXAMPLES
from tests.zoo_parts import spec_of, written

CONDITIONS = {"resolution": 224, "backend": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1"])
def test_texts_that_look_like_formulas_get_an_apostrophe(text: str) -> None:
    made = csv_text(["model", "gap"], [{"model": text, "gap": -0.5}])
    (row,) = csv.DictReader(io.StringIO(made, newline=""))
    assert row["model"] == f"'{text}".replace("\r", "\n")
    assert row["gap"] == "-0.5"


def test_other_texts_stay_and_unknown_ones_are_empty() -> None:
    assert csv_text(["model", "gap"], [{"model": "a=b"}]) == "model,gap\na=b,\n"


@pytest.mark.parametrize("name", ["../../etc/a", "n" * 300, "網路" * 100, "a\nb"])
def test_a_space_of_any_name_has_its_table_in_the_folder_of_tables(name: str) -> None:
    path = default_table(name, **CONDITIONS)  # type: ignore[arg-type]
    assert path.parent == default_table("r18", **CONDITIONS).parent  # type: ignore[arg-type]
    assert len(path.name.encode()) <= 255
    assert path != default_table(f"{name}x", **CONDITIONS)  # type: ignore[arg-type]


def test_a_zoo_of_a_space_with_a_long_name_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8")
    (tmp_path / "long.yaml").write_text(text.replace("name: small", f"name: {'n' * 190}"), encoding="utf-8")
    spec = written(tmp_path, spec_of(tmp_path / "t.sqlite", spaces=["long.yaml"]))
    for options in (["--dry-run"], ["-o", str(tmp_path / "zoo")]):
        assert run(["zoo", str(spec), *options]) == 2
        line = capsys.readouterr().err
        assert "has 194 letters" in line
        assert "160 at most" in line
    assert not (tmp_path / "zoo").exists()
