"""Reading YAML and JSON strictly: one meaning, or one line that names the place and the way out; never a traceback."""

import json
from pathlib import Path

import pytest

from deepmad.search_spaces import files
from deepmad.search_spaces.errors import InputError, near, shown, unknown
from deepmad.search_spaces.files import read_json, read_yaml
from deepmad.search_spaces.json_documents import MOST_DEPTH, parsed_json
from deepmad.search_spaces.seals import read_sealed, write_sealed
from deepmad.search_spaces.yaml_documents import parsed_yaml

WORDS = ("no", "Yes", "on", "OFF", "1_000", "010", "0x1F", "0b1", "12:30", "2024-01-01", ".inf", ".NaN", "=")
"""What readers of YAML 1.1 and 1.2 understand differently."""


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("a: 1\nb: [-2, +3, 0]", {"a": 1, "b": [-2, 3, 0]}),
        ("[1.5, .5, 2., 1e3, 1E-3, -1.5e+2]", [1.5, 0.5, 2.0, 1000.0, 0.001, -150.0]),
        ("[true, False, TRUE, null, ~, ]", [True, False, True, None, None]),
        ("a:", {"a": None}),
        ("['no', \"010\", '2024-01-01', '']", ["no", "010", "2024-01-01", ""]),
        ("[20M, 5ms, 2000/s, 29m-224, 0o17, a.b]", ["20M", "5ms", "2000/s", "29m-224", "0o17", "a.b"]),
        ("a: |\n  12\n", {"a": "12\n"}),
        ("a: &x {b: 1, c: 2}\nd: {c: 3, <<: *x}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("[&x {b: 1}, *x]", [{"b": 1}, {"b": 1}]),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}]}", {"a": {"b": 1, "c": 3}}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("# nothing", None),
    ],
)  # fmt: skip
def test_yaml_is_read_as_anybody_would(text: str, document: object) -> None:
    found = parsed_yaml(text, "some.yaml")
    assert found == document
    assert repr(found) == repr(document) or isinstance(document, dict)  # true is not 1, nor 1 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3", "'a'", "given twice", "line 1"]),
        ("x: {a: 1,\n  a: 2}", ["line 2", "'a'", "twice"]),
        *(
            (f"first: 1\na: {word}", ["line 2", repr(word), "quotes"])
            for word in WORDS
        ),
        ("no: 1", ["line 1", "'no'", "quotes"]),
        ("5: 1", ["line 1", "key 5", "quotes"]),
        ("? [a]\n: 1", ["line 1", "key is text"]),
        ("a: !!str 5", ["line 1", "tag", "quotes"]),
        ("a: !python/name:os.system {b: 1}", ["line 1", "tag"]),
        ("a: 1e400", ["line 1", "1e400", "finite"]),
        ("a: " + "9" * 5000, ["line 1", "5000 digits"]),
        ("a: &x [*x]", ["line 1", "*x"]),
        ("a: *gone", ["line 1", "*gone"]),
        ("a: {<<: 5}", ["line 1", "<<"]),
        ("a: 1\n---\nb: 2", ["line 2", "second document"]),
        ("a: \"x\\0y\"", ["line 1", "NUL"]),
        ("a: b\0c", ["line 1", "0x0"]),
        ("a: [1", ["not YAML", "line 1"]),
        ("\ta: 1", ["not YAML", "line 1"]),
        ("[" * 100_000, ["line 1", f"{MOST_DEPTH} deep"]),
        ("{a: " * 1000, ["line 1", f"{MOST_DEPTH} deep"]),
        ("- " * 1000, ["line 1", f"{MOST_DEPTH} deep"]),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_yaml_of_two_meanings_is_told_with_its_line(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parsed_yaml(text, "some.yaml")
    message = str(caught.value)
    assert all(word in message for word in ["some.yaml: ", *words]), message
    assert len(message.splitlines()) == 1
    assert len(message) < 300


def test_aliases_that_blow_up_are_refused_at_once() -> None:
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 10)]
    with pytest.raises(InputError, match="more than 2,000,000 values"):
        parsed_yaml("\n".join(["l0: &l0 [1, 2]", *levels]), "some.yaml")
    deep = [f"l{level}: &l{level} [*l{level - 1}]" for level in range(1, 100)]
    with pytest.raises(InputError, match=f"{MOST_DEPTH} deep"):
        parsed_yaml("\n".join(["l0: &l0 [1]", *deep]), "some.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": {"a": 1,\n "a": 2}}', ["line 3", "'a'", "twice", "line 2"]),
        ('{"a{\\"": {"b}": 1, "b\\u007d": 2}}', ["line 1", "'b}'", "twice"]),
        ('{"a": NaN}', ["NaN", "finite"]),
        ("[-Infinity]", ["-Infinity", "finite"]),
        ("[1e400]", ["1e400", "finite"]),
        (f"[{'9' * 5000}]", ["5000 digits"]),
        ('["\\u0000"]', ["NUL"]),
        ('{"\\ud800": 1}', ["half of a character"]),
        ("[" * 100_000, [f"{MOST_DEPTH} deep"]),
        ("[" * 60 + "]" * 60, [f"{MOST_DEPTH} deep"]),
        ('{"a": 1', ["not JSON", "line 1"]),
        ("", ["not JSON", "line 1"]),
        ("\0", ["not JSON", "line 1"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_of_no_meaning_is_told(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parsed_json(text, "some.json")
    message = str(caught.value)
    assert all(word in message for word in ["some.json: ", *words]), message
    assert len(message.splitlines()) == 1


def test_json_keeps_what_python_writes() -> None:
    document = {"a": [1, 2.5, 10**38, -0.1, None, True, "\\u0000", "ß€😀"], "b": {}}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        assert parsed_json(text, "some.json") == document


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_json(path) == read_yaml(path) == {"a": 1}


def test_what_is_too_large_or_no_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_text("[1, 2, 3]", encoding="utf-8")
    monkeypatch.setattr(files, "MOST_YAML_BYTES", 5)
    with pytest.raises(InputError, match="larger than 5 B"):
        read_yaml(path)
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path)
    path.write_bytes(b"a\xff")
    with pytest.raises(InputError, match=r"not a text file \(byte 1"):
        read_yaml(path)


def test_a_sealed_file_tells_any_change(tmp_path: Path) -> None:
    path, document = tmp_path / "sealed.json", {"a": [1, 0.1], "b": None}
    write_sealed(path, document)
    assert read_sealed(path, "delete it") == document
    whole = path.read_text(encoding="utf-8")
    for changed in (
        whole.replace("0.1", "0.2"),
        whole.replace("null", "0"),
        whole.replace('"b"', '"c"'),
        "{}",
        "[]",
        "5",
    ):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(InputError, match=r"damaged: .*; delete it"):
            read_sealed(path, "delete it")


def test_near_names_are_asked_for() -> None:
    assert near("botleneck", ("bottleneck", "basic")) == " (did you mean bottleneck?)"
    assert near("FP32", ("fp32", "int8")) == " (did you mean fp32?)"
    assert near("zebra", ("bottleneck", "basic")) == ""
    assert unknown("rya", ("ray", "local")) == "'rya' is unknown (did you mean ray?); choose from ray, local"


def test_long_values_are_not_repeated_in_full() -> None:
    assert len(shown("x" * 10_000)) < 100
    assert shown("a\nb") == r"'a\nb'"
    assert shown(10**5000) == "an integer of thousands of digits"
