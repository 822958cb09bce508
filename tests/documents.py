"""The README and the documents as Markdown: their code blocks with marks, links and headings.

A block is marked by an HTML comment before it: `<!-- long -->` takes minutes, `<!-- elsewhere: WHAT -->` needs
something that is not everywhere at hand, `<!-- test command -->` is the command that runs these tests.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.catalogue import ROOT

MARKS = ("long", "elsewhere", "test command")
LANGUAGES = ("bash", "python", "yaml", "text")
_COMMENT = re.compile(r"<!-- ([a-z ]+)(: .+)? -->")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and its mark, None where it is to be run."""

    language: str
    code: str
    mark: str | None


def documents() -> list[Path]:
    """Return the README and all documents."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def tokens(path: Path) -> list[Token]:
    """Return a Markdown file as tokens."""
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def blocks(path: Path) -> Iterator[Block]:
    """Yield a file's blocks of code in order; one without a language has an empty one."""
    before = None
    for token in tokens(path):
        if token.type in ("fence", "code_block"):
            found = _COMMENT.fullmatch(before.content.strip()) if before and before.type == "html_block" else None
            yield Block(token.info.strip(), token.content, found[1] if found else None)
        before = token


def links(path: Path) -> Iterator[str]:
    """Yield where a file's links and pictures lead."""
    for token in tokens(path):
        for child in token.children or ():
            address = child.attrs.get("href") or child.attrs.get("src")
            if address:
                yield str(address)


def anchors(path: Path) -> set[str]:
    """Return the names by which a file's headings are linked to."""
    each = tokens(path)
    titles = [each[index + 1].content for index, token in enumerate(each) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
