"""What a newcomer is told of spaces: presets, `show` of a space, the descriptions in schemas, and other files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space, parse_space, presets
from tests.catalogue import EXAMPLES

SMALL = EXAMPLES / "small.yaml"
GOOD = """format: deepmad/space@1
name: a
resolution: 32
stem: {out: 16}
stages:
  - {block: bottleneck, stride: 2, out: {min: 8, max: 64}, width: 8, kernel: 3, depth: 2}
"""


def test_every_preset_is_listed_with_its_blocks_limits_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets"]) == 0
    told = capsys.readouterr().out
    for name in presets():
        space = load_space(name)
        assert space.description is not None
        assert f"{name}: {space.description}" in told
    assert "bottleneck" in told
    assert "11.69 M" in told
    assert run(["presets", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [*presets()]


@pytest.mark.parametrize("name", [*presets(), str(SMALL), str(EXAMPLES / "mixed.yaml"), str(EXAMPLES / "strides.yaml")])
def test_show_tells_what_a_space_offers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    space = load_space(name)
    assert run(["show", name]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    for index, stage in enumerate(space.stages):
        (row,) = [line for line in lines if line.startswith(f"{index} ")]
        assert " or ".join(stage.block) in row
        assert f"{stage.out[0]}" in row
        assert f"{stage.depth[-1]}" in row
    assert f"rho {space.limits.rho:g}" in told
    assert run(["show", name, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == space.name
    assert [stage["out"] for stage in document["stages"]] == [[*stage.out] for stage in space.stages]
    assert document["size"] == space.size()


def without_description(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the properties of all objects in a schema that no sentence describes."""
    if isinstance(schema, dict):
        for name, one in (schema.get("properties") or {}).items():
            if isinstance(one, dict) and "description" not in one and "title" in one:
                yield f"{path}.{name}"
        for name, one in schema.items():
            yield from without_description(one, f"{path}.{name}")


@pytest.mark.parametrize("name", ["space", "architecture", "zoo"])
def test_every_key_of_a_file_that_people_write_is_described(name: str) -> None:
    assert not list(without_description(schema_of(name)))
    assert "description" in schema_of(name)["properties"]["resolution" if name != "zoo" else "targets"]


def test_a_description_is_no_other_space() -> None:
    described = parse_space(GOOD + "description: one of mine\n", "a.yaml")
    assert described.description == "one of mine"
    assert described == parse_space(GOOD, "a.yaml")
    assert described.identity == parse_space(GOOD, "a.yaml").identity
    assert described.identity != parse_space(GOOD.replace("max: 64", "max: 72"), "a.yaml").identity


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stride: 2", "stride: 3", "stages[0].stride must be 1 or 2, not 3 (stages[0] is the first)"),
        ("resolution: 32", "resolutoin: 32", "resolutoin: this key is unexpected (did you mean resolution?)"),
        ("resolution: 32\n", "", "resolution is missing; give it"),
        ("kernel: 3, ", "", "stages[0].kernel is missing; give it (stages[0] is the first)"),
        ("depth: 2", "depth: two", "stages[0].depth must be a whole number, without quotes, not 'two'"),
        ("depth: 2", "depth: [1, two]", "stages[0].depth[1] must be a whole number, without quotes, not 'two'"),
        ("stem: {out: 16}", "stem: 16", "stem must be a mapping of keys to values, not 16"),
        ("resolution: 32", "resolution: 0", "resolution must be 1 or more, not 0"),
        ("resolution: 32", "resolution: 100000", "resolution must be 65536 or less, not 100000"),
        ("name: a", "name: ''", "name must not be empty"),
        ("name: a", "name: 5", "name must be a text, not 5"),
        (GOOD[GOOD.index("stages:"):], "stages: []", "stages must have at least 1 entry, not 0"),
        ("width: 8", "expansion: 0", "stages[0].expansion must be above 0, not 0"),
        ("block: bottleneck", "block: botleneck", "did you mean bottleneck?"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_told_in_words_of_the_file(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_space(GOOD.replace(old, new), "a.yaml")
    told = str(caught.value)
    assert told.startswith("a.yaml: ")
    assert message in told
    assert not any(word in told for word in ("Input should", "Field required", "Value error", "validation"))


@pytest.mark.parametrize("command", [["show"], ["compare"], ["measure"], ["export", "--to", "onnx", "-o", "x.onnx"]])
@pytest.mark.parametrize("name", ["r18", "mine.yaml"])
def test_a_space_in_the_place_of_a_network_is_told_with_the_command_that_designs_one(
    command: list[str],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(GOOD, encoding="utf-8")
    if command == ["show"]:  # which takes both
        assert run([*command, name]) == 0
        return
    assert run([*command[:1], name, *command[1:]]) == 2
    assert f"design a network first: deepmad design {name} -o solution.json" in capsys.readouterr().err


def test_files_of_another_kind_and_misspelt_ones_are_told(tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    network.write_text(json.dumps(Architecture.load(EXAMPLES / "deepmad-r50.json").to_dict()), encoding="utf-8")
    with pytest.raises(InputError, match="it is an architecture file"):
        load_space(network)
    with pytest.raises(InputError, match=r"did you mean network\.json\?"):
        Architecture.load(tmp_path / "netwrok.json")
    spec = tmp_path / "zoo.yaml"
    spec.write_text("# mine\nformat: deepmad/zoo@1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"deepmad zoo .*zoo\.yaml -o zoo"):
        Architecture.load(spec)


def test_a_misspelt_preset_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "r81"]) == 2
    assert "did you mean r18?" in capsys.readouterr().err
