"""The check of a zoo's networks finds that they agree, and finds what does not."""

import json
import shutil
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import typer

from benchmarks.conditions import read_csv, write_csv
from benchmarks.zoo_networks import checked, main
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.zoo.making import make_zoo
from tests.catalogue import one_block
from tests.zoo_parts import spec_of, written


@pytest.fixture(scope="module")
def zoo(small_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a zoo of two networks."""
    folder = tmp_path_factory.mktemp("checked")
    make_zoo(written(folder, spec_of(small_tables, title="two networks", targets=["1s", "900ms"])), folder / "zoo")
    return folder / "zoo"


@pytest.fixture
def copy(zoo: Path, tmp_path: Path) -> Path:
    """Return a copy of the zoo that may be altered."""
    return Path(shutil.copytree(zoo, tmp_path / "zoo"))


def names(zoo: Path) -> list[str]:
    """Return the names of a zoo's networks."""
    return [entry["name"] for entry in json.loads((zoo / "zoo.json").read_text(encoding="utf-8"))["entries"]]


def altered(path: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def written_to(folder: Path, name: str, rows: Sequence[Mapping[str, object]], notes: Mapping[str, object]) -> Path:
    """Write results in a folder that is not that of the repository."""
    write_csv(folder / f"{name}.csv", rows, notes)
    return folder / f"{name}.csv"


def test_what_was_written_agrees_in_all_its_forms(zoo: Path) -> None:
    rows = checked(zoo)
    assert [row["name"] for row in rows] == names(zoo)
    for row in rows:
        assert row["differs"] == ""
        assert row["params"] == row["onnx_params"] + row["folded_params"] > row["folded_params"] > 0
        assert row["macs"] == row["torch_macs"] == row["onnx_macs"] == row["file_macs"] > row["params"]


def test_a_record_that_was_altered_is_found(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command's exit code, its lines and its file."""
    document = json.loads((copy / "zoo.json").read_text(encoding="utf-8"))
    first, second = document["entries"]
    first["macs"] += 1
    second["params"] -= 1
    (copy / "zoo.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr("benchmarks.zoo_networks.write_results", partial(written_to, tmp_path))
    with pytest.raises(typer.Exit) as ended:
        main(copy)
    assert ended.value.exit_code == 1
    macs, params = "torch_macs onnx_macs file_macs", "torch_params file_params timm_params onnx_params"
    assert [row["differs"] for row in read_csv(tmp_path / "zoo_networks-zoo.csv")] == [macs, params]
    assert f"{first['name']}: differs in {macs}\n" in capsys.readouterr().out


def test_files_that_were_altered_are_found(copy: Path) -> None:
    """A standalone file with another width, and the ONNX file of another network."""
    first, second = names(copy)
    altered(copy / f"{first}.py", "num_classes: int = 10", "num_classes: int = 11")
    export_onnx(one_block("mbconv_se"), copy / f"{second}.onnx")
    one, two = checked(copy)
    assert set(one["differs"].split()) == {"file_params", "file_macs", "file_weights_fit", "file_error"}
    assert set(two["differs"].split()) == {"onnx_params", "onnx_macs", "onnx_error"}


def test_weights_that_are_not_those_of_the_onnx_file_are_found(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    first, _ = names(copy)
    weights = load_file(copy / f"{first}.safetensors")
    weights["classifier.1.1.bias"] += 1.0
    save_file(weights, copy / f"{first}.safetensors")
    one, two = checked(copy)
    assert (one["differs"], two["differs"]) == ("onnx_error", "")


def test_the_standalone_file_runs_by_a_python_without_deepmad(copy: Path, tmp_path: Path) -> None:
    """In an environment that sees the packages of this one but deepmad; a file that needs that does not run there."""
    packages = Path(sysconfig.get_path("purelib"))
    if (packages / "deepmad").exists():
        pytest.skip("deepmad is installed as a copy, which the other environment would see")
    venv.create(tmp_path / "other", symlinks=True)
    (own,) = (tmp_path / "other" / "lib").glob("python*/site-packages")
    (own / "packages.pth").write_text(f"{packages}\n", encoding="utf-8")
    altered(copy / f"{names(copy)[1]}.py", "import math\n", "import math\nimport deepmad\n")
    first, second = checked(copy, tmp_path / "other" / "bin" / "python")
    assert (first["only_torch_params"], first["differs"]) == (first["params"], "")
    assert (second["only_torch_params"], second["differs"]) == (None, "only_torch_params")


def test_a_python_with_deepmad_proves_nothing_and_is_refused(zoo: Path) -> None:
    with pytest.raises(SystemExit, match="has deepmad"):
        checked(zoo, Path(sys.executable))
