"""The documents: links lead somewhere, the README is short and plain, tables are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from deepmad.search_spaces.architectures import Tail
from deepmad.search_spaces.choices import Rules, StageSpace, StemSpace, WidthRatio
from deepmad.search_spaces.spaces import Space, SpaceLimits, parse_space
from tests.catalogue import ROOT
from tests.documents import anchors, blocks, documents, links
from tests.preset_table import preset_rows
from tests.reading_ease import MOST_WORDS, ease, sentences, words

LINKED = [*documents(), ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"]
MOST_LINES = 150


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for address in links(path):
        if re.match(r"https?://[\w.-]+(/|$)", address):
            continue
        place, _, anchor = address.partition("#")
        target = (path.parent / place) if place else path
        assert target.exists(), f"{path.name}: {address}"
        assert ROOT in target.resolve().parents or target.resolve() == ROOT, address
        if anchor:
            assert anchor in anchors(target), f"{path.name}: {address}"


def test_documents_that_the_code_names_are_there() -> None:
    sources = [path for folder in ("deepmad", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.*")]
    for path in [*sources, ROOT / "Makefile", *documents()]:
        if path.suffix in (".py", ".yaml", ".md", "") and path.is_file():
            for name in re.findall(r"\bdocs/([\w-]+\.\w+)", path.read_text(encoding="utf-8")):
                assert (ROOT / "docs" / name).is_file(), f"{path.relative_to(ROOT)}: docs/{name}"


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert {f"docs/{path.name}" for path in documents()[1:]} <= set(links(readme))


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_sentence_is_long(path: Path) -> None:
    found = ease(path.read_text(encoding="utf-8"))
    assert found.sentences > 20
    assert not found.long, f"over {MOST_WORDS} words: {found.long}"


def test_sentences_are_told_apart() -> None:
    text = (
        "One two `x = 1.` three. Four of 1.5 ms, e.g. five!\n\n- six\n- seven?\n\n| a | b. C |\n|---|---|\n| d | e |\n"
    )
    assert [len(words(sentence)) for sentence in sentences(text)] == [4, 6, 1, 1, 1, 1, 1, 1, 1]
    assert ease(f"{'word ' * 31}end. Short one here.").long == (f"{'word ' * 31}end.",)


def test_the_table_of_presets_is_that_of_the_presets() -> None:
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| `[\w-]+` \| \d+ px", line)]
    assert rows == preset_rows()


def test_the_commented_space_has_every_key_and_a_word_on_each() -> None:
    text = next(block.code for block in blocks(ROOT / "docs" / "spaces.md") if block.language == "yaml")
    assert parse_space(text, "docs/spaces.md").name == "mine"
    document = yaml.safe_load(text)
    found = [set(document), set(document["stem"]), set().union(*map(set, document["stages"])), set(document["tail"])]
    found += [set(document["rules"]), set(document["rules"]["width_ratio"]), set(document["limits"])]
    kinds = (Space, StemSpace, StageSpace, Tail, Rules, WidthRatio, SpaceLimits)
    for keys, kind in zip(found, kinds, strict=True):
        names = {field.name for field in fields(kind)}
        assert keys - {"format"} == {"stride" if name == "strides" else name for name in names}, kind
    first = text[: text.index("\n  - block: mbconv\n")].splitlines() + text[text.index("\ntail:") + 1 :].splitlines()
    assert [line for line in first if "#" not in line] == []
