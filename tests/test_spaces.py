"""Spaces: the presets hold what they say, YAML is checked key by key, membership is decided by the rules."""

from dataclasses import replace

import jsonschema
import pytest
import yaml

from deepmad.cli.schema import schema_of
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.choices import expanded
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space, parse_space, presets
from tests.catalogue import EXAMPLES, ROOT, small_space

SMALL = (EXAMPLES / "small.yaml").read_text(encoding="utf-8")
MEMBER = Architecture(
    32, Stem(8), (Stage("bottleneck", 16, 8, 3, 1, 2), Stage("mbconv", 32, 96, 3, 2, 1)), None, 10, name="member"
)


def test_all_presets_of_the_method_are_there() -> None:
    assert set(presets()) == {"r18", "r34", "r50", "29m-224", "29m-288", "50m", "89m", "mbv2", "b0"}


@pytest.mark.parametrize("name", presets())
def test_presets_load_and_fit_the_schema(name: str) -> None:
    space = load_space(name)
    assert space.weights == (1, 1, 1, 1, 8)
    text = (ROOT / f"deepmad/search_spaces/presets/{name}.yaml").read_text(encoding="utf-8")
    jsonschema.validate(yaml.safe_load(text), schema_of("space"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("depth: {min: 1, max: 3}", "depth: {min: 3, max: 1}", "stages[0].depth"),
        ("depth: {min: 1, max: 3}", "depth: {low: 3}", "stages[0].depth"),
        ("alpha: [1, 8]", "alpha: [1, 1, 8]", "3 weights for 2 scales"),
        ("macs: 20M", "macs: -20M", "limits.macs"),
        ("macs: 20M", "macs: 20Q", "limits.macs"),
        ("kernel: [3, 5]", "kernel: [4]", "stages[0]"),
        ("resolution: 32", "resolution: 33", "nearest sizes that work: 32 or 36"),
        ("[mbconv, mbconv_se]", "[mbconv, mb]", "choose from bottleneck"),
        ("expansion: [3, 6]", "expansion: [3, 6], width: 8", "either width or expansion"),
        ("classes: 10", "classes: [10", "not YAML"),
        ("classes: 10", "clases: 10", "clases"),
        ("name: small", "", "name"),
        ("out: {min: 16, max: 64}", "out: []", "stages[0]"),
        ("out: {min: 16, max: 64}", "out: {min: 8, max: 100000000}", "over 100000 values"),
        ("format: deepmad/space@1", "format: deepmad/space@9", "deepmad/space@9"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(old: str, new: str, told: str) -> None:
    assert old in SMALL
    with pytest.raises(InputError) as caught:
        parse_space(SMALL.replace(old, new), "my.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_lists_the_choices() -> None:
    with pytest.raises(InputError, match="presets: 29m-224, 29m-288, 50m, 89m, b0, mbv2, r18, r34, r50"):
        load_space("r51")


def test_a_member_is_a_member() -> None:
    assert small_space().violations(MEMBER) == []


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (replace(MEMBER, stem=Stem(12)), "stem"),
        (replace(MEMBER, stages=MEMBER.stages[:1]), "stages"),
        (replace(MEMBER, stages=(replace(MEMBER.stages[0], width=24), MEMBER.stages[1])), "width 24 is outside"),
        (replace(MEMBER, stages=(replace(MEMBER.stages[0], out=64), MEMBER.stages[1])), "above 4.0 times"),
        (replace(MEMBER, stages=(replace(MEMBER.stages[0], out=40), MEMBER.stages[1])), "below the 40 before"),
        (replace(MEMBER, stages=(MEMBER.stages[0], replace(MEMBER.stages[1], width=64))), "not offered with out"),
        (replace(MEMBER, stages=(MEMBER.stages[0], replace(MEMBER.stages[1], block="basic"))), "block basic"),
    ],
)
def test_what_breaks_a_rule_is_told(network: Architecture, told: str) -> None:
    assert any(told in sentence for sentence in small_space().violations(network))


def test_expansions_round_to_the_nearest_multiple_of_8() -> None:
    assert [expanded(3, 8), expanded(0.5, 24), expanded(0.1, 8), expanded(1.5, 24), expanded(6, 1280)] == [
        24, 16, 8, 40, 7680,
    ]  # fmt: skip
