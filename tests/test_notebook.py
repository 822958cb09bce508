"""Designs, tables and measurements as people write and read them in notebooks."""

import doctest
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import deepmad as dm
from deepmad import notebook
from deepmad.profilers.tables.verdicts import Verdict
from deepmad.search_spaces.notebooks import Picture, empty_figure, frame
from tests.catalogue import EXAMPLES, ROOT, StairTable, small_space
from tests.tiny_tables import build_quickly
from tests.tiny_tables import space as tiny_space

SMALL = EXAMPLES / "small.yaml"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a real, small latency table of this machine."""
    path = tmp_path_factory.mktemp("tables") / "tiny.sqlite"
    build_quickly(path)
    return path


@pytest.fixture(scope="module")
def solution() -> dm.Solution:
    return dm.design(SMALL, macs="15M", time_limit="5s")


@pytest.mark.parametrize("function", [notebook.design, notebook.compare])
def test_the_examples_of_help_run(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (example,) = [one for one in doctest.DocTestFinder(recurse=False).find(function, globs={}) if one.examples]
    assert doctest.DocTestRunner().run(example).failed == 0


def test_limits_are_written_with_their_units() -> None:
    told = dm.Budget(latency="8ms", macs=">=3G", rho="0.3", throughput="60/s", memory="64MB", params="none")  # type: ignore[arg-type]
    assert told == dm.Budget(latency=0.008, macs=dm.AtLeast(3e9), rho=0.3, throughput=60.0, memory=64e6)
    with pytest.raises(dm.InputError, match="latency: '8 parsecs' is not a seconds value"):
        dm.Budget(latency="8 parsecs")  # type: ignore[arg-type]
    with pytest.raises(dm.InputError, match="extra: 'f' is a text"):
        dm.Budget(extra="f")


def test_a_design_by_name_keeps_the_limits_given_and_those_of_the_space(solution: dm.Solution) -> None:
    assert solution.architecture is not None
    assert {name: use.limit for name, use in solution.limits.items()} == {"macs": 15e6, "params": 300e3, "rho": 0.3}
    lifted = dm.design(small_space(), params=None, rho="none", time_limit=0.5)
    assert set(lifted.limits) == {"macs"}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("r81",), {}, "did you mean r18?"),
        (("r18",), {"latency": "8ms", "backend": "torch", "threads": 977}, "deepmad table build r18 --backend torch"),
        (("r18",), {"latency": "8ms", "table": "nowhere.sqlite"}, "nowhere.sqlite"),
        (("r18",), {"macs": "lots"}, "macs: 'lots'"),
    ],
)
def test_what_cannot_be_designed_is_told_in_one_line(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(dm.InputError) as caught:
        dm.design(*arguments, **options)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_problem_has_its_limits_already() -> None:
    problem = dm.Problem(small_space(), dm.Budget.of(small_space()))
    for options in ({"latency": "8ms"}, {"macs": "1M"}, {"resolution": 64}, {"objective": "reference"}):
        with pytest.raises(dm.InputError, match=f"{next(iter(options))}: a Problem has it already"):
            dm.design(problem, **options)


def test_a_table_is_a_file_or_an_object_and_its_doubts_are_warned_of(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deepmad.profilers.tables.tables.verdict", lambda *_: Verdict("poor", ("it was a stormy night",), "wait")
    )
    for given in (table, str(table), dm.LatencyTable.load(table), [table]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = dm.design(tiny_space(), latency="1s", table=given, time_limit=0.5)
        assert found.predicted is not None
        assert any("stormy night" in str(one.message) for one in caught)
        assert any("stormy night" in one for one in found.warnings or ())


def test_a_measured_design_tells_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "_timer", lambda *_: lambda _: None)
    unmeasured = dm.design(SMALL, time_limit=0.5, measure=True)
    assert unmeasured.architecture is not None


def test_everything_is_told_in_one_short_line(solution: dm.Solution, table: Path) -> None:
    space = dm.space("r18")
    found = dm.measure(solution.architecture or pytest.fail("no network"), timer=_brief())
    lines = {
        repr(space): ["r18", "5 stages of bottleneck", "input 224"],
        repr(dm.Problem(small_space(), dm.Budget(latency=0.008), StairTable())): ["small", "latency_seconds <= 8 ms"],
        repr(solution): [str(solution.status), "objective", "MACs"],
        repr(dm.LatencyTable.load(table)): ["space tiny", "onnxruntime, fp32, batch 1"],
        repr(found): ["onnxruntime", "input 32", "/s"],
    }
    for line, words in lines.items():
        assert line.startswith("<")
        assert len(line) < 250
        assert all(word in line for word in words), line


def test_stages_tables_and_networks_are_frames(solution: dm.Solution, table: Path) -> None:
    assert solution.architecture is not None
    stages = solution.stages
    assert [*stages["out"]] == [stage.out for stage in solution.architecture.stages]
    assert len(dm.LatencyTable.load(table).frame) > 20
    told = dm.compare(solution, solution.architecture, EXAMPLES / "deepmad-r50.json")
    assert told.shape[1] == 3
    assert told.iloc[:, 0]["macs"] == told.iloc[:, 1]["macs"] == solution.limits["macs"].used
    with pytest.raises(dm.InputError, match="there is no network"):
        dm.compare()


def test_pictures_show_and_are_saved(solution: dm.Solution, table: Path, tmp_path: Path) -> None:
    for picture in (solution.plot(), dm.LatencyTable.load(table).plot()):
        assert "<svg" in picture._repr_svg_()
        for name in ("a.svg", "a.png"):
            picture.save(tmp_path / name)
            assert (tmp_path / name).stat().st_size > 1000
        with pytest.raises(dm.InputError, match=r"\.png, \.svg, \.pdf"):
            picture.save(tmp_path / "a.xlsx")


def test_a_missing_library_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        frame([{"a": 1}])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'deepmad\[report\]'"):
        empty_figure(1, 1)


def test_a_notebook_shows_progress_under_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[str]()
    interactive: Any = ModuleType("IPython")
    interactive.get_ipython = lambda: SimpleNamespace(has_trait=lambda name: name == "kernel")
    display: Any = ModuleType("IPython.display")
    display.HTML = str
    display.display = lambda *_, **_options: SimpleNamespace(update=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert dm.design(SMALL, time_limit=2).architecture is not None
    assert shown
    assert all(line.startswith('<progress max="2"') and "objective" in line for line in shown)
    before = len(shown)
    dm.design(SMALL, time_limit=0.5, progress=False)
    assert len(shown) == before


def test_outside_of_notebooks_nothing_is_printed_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    dm.design(SMALL, time_limit=0.5)
    assert capsys.readouterr().err == ""
    dm.design(SMALL, time_limit=0.5, progress=True)
    assert "designing" in capsys.readouterr().err


def _brief() -> Any:
    from deepmad.profilers.measuring.timing import Timer

    return Timer(seconds=0.002, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)


def test_a_picture_tells_what_it_is() -> None:
    assert "save(FILE)" in repr(Picture(None))
