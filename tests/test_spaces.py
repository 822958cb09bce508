"""Spaces: the presets hold what they say, YAML is checked key by key, membership is decided by the rules."""

from dataclasses import replace

import jsonschema
import pytest
import yaml

from deepmad.cli.schema import schema_of
from deepmad.engine.program.budgets import usual_rho
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
        # numbers, text and booleans are three things
        ("in_channels: 3", "in_channels: true", "in_channels"),
        ("in_channels: 3", "in_channels: '3'", "in_channels"),
        ("in_channels: 3", "in_channels: 3.0", "in_channels"),
        ("stride: 2, out", "stride: true, out", "stages[0].stride"),
        ("stride: 2, out", "stride: 2.0, out", "stages[0].stride"),
        ("out: {min: 16, max: 64}", "out: {min: true, max: 64}", "positive integers"),
        ("out: {min: 16, max: 64}", "out: [true]", "stages[0].out[0]"),
        ("alpha: [1, 8]", "alpha: ['1', 8]", "alpha[0]"),
        ("alpha: [1, 8]", "alpha: [true, 8]", "alpha[0]"),
        ("expansion: [3, 6]", "expansion: [true, 6]", "stages[1].expansion[0]"),
        ("expansion: [3, 6]", "expansion: ['3']", "stages[1].expansion[0]"),
        ("non_decreasing: true", "non_decreasing: 1", "rules.non_decreasing"),
        ("non_decreasing: true", "non_decreasing: yes", "line 12: 'yes'"),
        ("macs: 20M", "macs: true", "limits.macs"),
        ("expansion: [3, 6]", "expansion: {min: 3, max: 6}", "is a range, and only a value or a list"),
        ("name: small", "name: 2024", "must be a text"),
        ("classes: 10", "classes: 10\nclasses: 11", "line 12: the key 'classes' is given twice, first at line 11"),
        # what is larger than anything
        ("in_channels: 3", "in_channels: 100000000000000000000000", "1000000 or less"),
        ("out: {min: 16, max: 64}", "out: 1000000000000000000", "1000000 or less"),
        ("classes: 10", "classes: 9223372036854775808", "10000000 or less"),
        ("resolution: 32", "resolution: 1099511627776", "65536 or less"),
        ("depth: {min: 1, max: 3}", "depth: 100000", "10000 or less"),
        ("expansion: [3, 6]", "expansion: 1e300", "64 or less"),
        ("beta: 10", "beta: 1e300", "1000000 or less"),
        ("macs: 20M", "macs: 1e300", "limits: macs: 1e+300 is out of range (1 to 9007199254740992)"),
        ("rho: 0.3", "rho: 1e-9", "rho: 1e-09 is out of range"),
        ("name: small", "name: " + "x" * 500, "200 characters at most"),
        ("name: small", "name: a/../../b", "name"),
        # what no network can be
        ("macs: 20M", "macs: 1.5", "1.5 is no whole number; did you mean 1.5G or 1.5M?"),
        ("min: 0.1, max: 1}", "min: 2, max: 1}", "min: 2 is above max, 1"),
        ("min: 0.1, max: 1}", "min: 9, max: 10}", "stages[0]: no width offered is 9 to 10 times"),
        ("growth: 4", "growth: 0.4", "stages[0].out: none of 16 to 64 may follow"),
        ("out: {min: 32, max: 96}", "out: 8", "stages[1].out: none of 8 may follow"),
        ("out: {min: 32, max: 96}", "out: 1000", "stages[1].out: none of 1000 may follow"),
        ("alpha: [1, 8]", "alpha: [0, 0]", "leaves no entropy"),
        ("alpha: [1, 8]", "alpha: [-1, 8]", "alpha[0]"),
        ("kernel: 3, stride", "kernel: 4, stride", "stem: kernel: 4 is even"),
        ("tail: null", "tail: {out: 8, kernel: 2}", "tail.kernel: 2 is even"),
        # near names
        ("block: bottleneck", "block: botleneck", "did you mean bottleneck?"),
        ("rules: {", "rules: {growht: 3, ", "did you mean growth?"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(old: str, new: str, told: str) -> None:
    assert old in SMALL
    with pytest.raises(InputError) as caught:
        parse_space(SMALL.replace(old, new), "my.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_all_networks_of_a_space_would_be_is_counted() -> None:
    wide = SMALL.replace("expansion: [3, 6]", "expansion: 64").replace("out: {min: 32, max: 96}", "out: [32, 1000000]")
    with pytest.raises(InputError, match=r"stages\[1\].expansion: it gives an inner width of 64000000, above 1000000"):
        parse_space(wide.replace("growth: 4, ", ""), "my.yaml")
    deep = SMALL.replace("resolution: 32", "resolution: 65536").replace("max: 3}", "max: 10000}")
    with pytest.raises(InputError, match=r"largest network has .* MACs, above the 9007 T that are counted exactly"):
        parse_space(deep, "my.yaml")
    pairs = SMALL.replace(
        "out: {min: 16, max: 64}, width: {min: 8, max: 32}", "out: &w {min: 1, max: 1001, step: 1}, width: *w"
    )
    with pytest.raises(InputError, match=r"stages\[0\]: out and width make 1,002,001 pairs"):
        parse_space(pairs, "my.yaml")


@pytest.mark.parametrize(
    ("old", "kept", "broken"),
    [
        ("out: {min: 32, max: 96}", "out: 256", "out: 257"),  # growth is 4, and 64 the widest before
        ("growth: 4", "growth: 1", "growth: 0.99"),  # 32 is offered everywhere
        ("max: 1}}", "max: 0.125}}", "max: 0.124}}"),  # width 8 of out 64
    ],
)
def test_rules_are_refused_only_where_no_widths_keep_them(old: str, kept: str, broken: str) -> None:
    assert parse_space(SMALL.replace(old, kept), "my.yaml").name == "small"
    with pytest.raises(InputError, match=r"my.yaml: stages\["):
        parse_space(SMALL.replace(old, broken), "my.yaml")


def test_an_unknown_preset_lists_the_choices() -> None:
    with pytest.raises(InputError, match="presets: 29m-224, 29m-288, 50m, 89m, b0, mbv2, r18, r34, r50"):
        load_space("r51")
    with pytest.raises(InputError, match=r"'r5' is no preset and no file \(did you mean r50\?\)"):
        load_space("r5")


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


def test_weights_of_the_scales_in_a_word() -> None:
    r18 = load_space("r18")
    assert r18.reweighted(alpha="uniform").weights == (1, 1, 1, 1, 1)
    assert r18.reweighted(alpha="last").weights == (0, 0, 0, 0, 1)
    assert small_space().reweighted(alpha="uniform", beta=0).weights == (1, 1)
    free = parse_space(SMALL.replace("stride: 1", "stride: [1, 2]").replace("alpha: [1, 8]", ""), "free")
    with pytest.raises(InputError, match="alpha: last needs one number of scales, and the strides allow 2, 3"):
        free.reweighted(alpha="last")
    assert replace(free, alpha=(1.0, 8.0)).reweighted(alpha=(2.0, 1.0, 1.0)).scale_counts == (3,)


@pytest.mark.parametrize(
    ("name", "rho"), [("r18", 0.3), ("29m-224", 0.5), ("mbv2", 0.5), (EXAMPLES / "small.yaml", 0.3)]
)
def test_the_usual_rho_is_that_of_the_block_kinds(name: str, rho: float) -> None:
    assert usual_rho(load_space(name)) == rho


def test_expansions_round_to_the_nearest_multiple_of_8() -> None:
    assert [expanded(3, 8), expanded(0.5, 24), expanded(0.1, 8), expanded(1.5, 24), expanded(6, 1280)] == [
        24, 16, 8, 40, 7680,
    ]  # fmt: skip
