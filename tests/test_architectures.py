"""Architecture files: both ways without loss, and refused with the path of what is wrong."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deepmad.cli.schema import schema_of
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from tests.catalogue import GOLDEN, mixed, published


@pytest.mark.parametrize("network", [*map(published, GOLDEN), mixed()], ids=lambda network: network.name)
def test_json_both_ways_keeps_everything(network: Architecture) -> None:
    document = json.loads(json.dumps(network.to_dict()))
    assert Architecture.from_dict(document) == network
    jsonschema.validate(document, schema_of("architecture"))


def change(path: list[str | int], value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["stages", 0, "out"], -8, "stages[0].out"),
        (["stages", 0, "out"], 0, "stages[0].out"),
        (["stages", 0, "out"], 8.5, "stages[0].out"),
        (["stages", 0, "out"], True, "stages[0].out"),
        (["stages", 1, "depth"], 0, "stages[1].depth"),
        (["stages", 1, "stride"], 3, "stages[1].stride"),
        (["stages", 1, "kernel"], 4, "stages[1].kernel"),
        (["stages", 0, "block"], "resnet", "choose from bottleneck, basic, mbconv, mbconv_se"),
        (["stages", 0, "extra"], 1, "stages[0].extra"),
        (["stem"], {}, "stem.out"),
        (["tail"], {"out": "many"}, "tail.out"),
        (["classes"], -1, "classes"),
        (["resolution"], 225, "nearest sizes that work: 224 or 256"),
        (["format"], "deepmad/architecture@2", "deepmad/architecture@2"),
        (["colour"], "red", "colour"),
    ],
)
def test_impossible_values_are_refused_with_their_path(path: list[str | int], value: Any, told: str) -> None:
    document = copy.deepcopy(GOLDEN["r18"]["architecture"])
    change(path, value)(document)
    with pytest.raises(InputError) as caught:
        Architecture.from_dict(document, "net.json")
    assert told in str(caught.value)
    assert str(caught.value).startswith("net.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not JSON"), ("[1]", "expected a mapping"), ("\x00\x01", "not JSON")],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "net.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        Architecture.load(path)
