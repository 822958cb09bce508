"""How hard the documents are to read: `python -m tests.reading_ease [FILE...]` tells it, with the worst sentences.

A sentence ends at a full stop, a question mark or a colon before a new block; a list item and a cell of a table are
blocks of their own. Code within a line counts as one word. Flesch's reading ease is 206.835 - 1.015 words a sentence -
84.6 syllables a word (Journal of Applied Psychology 32, 1948): 60 to 70 is plain English.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.documents import documents

MOST_WORDS = 30
"""A sentence of more words is hard to follow."""
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_WORD = re.compile(r"[^\W_][\w'’.,/%-]*")
_VOWELS = re.compile(r"[aeiouy]+")


@dataclass(frozen=True)
class Ease:
    """A document's figures: words a sentence, Flesch's reading ease, and the sentences that are too long."""

    sentences: int
    words: float
    flesch: float
    long: tuple[str, ...]


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a Markdown text; code blocks and pictures are left out."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "inline":
            words = "".join(
                "Code" if child.type == "code_inline" else " " if "break" in child.type else child.content
                for child in token.children or ()
                if child.type != "image"
            )
            yield from (sentence.strip() for sentence in _END.split(words) if sentence.strip())


def words(sentence: str) -> list[str]:
    """Return the words of a sentence."""
    return _WORD.findall(sentence)


def ease(text: str) -> Ease:
    """Return how hard a Markdown text is to read."""
    found = [(sentence, words(sentence)) for sentence in sentences(text)]
    counted = [(sentence, each) for sentence, each in found if len(each) > 2]
    total = sum(len(each) for _, each in counted)
    syllables = sum(max(1, len(_VOWELS.findall(word.lower()))) for _, each in counted for word in each)
    mean = total / max(1, len(counted))
    flesch = 206.835 - 1.015 * mean - 84.6 * syllables / max(1, total)
    return Ease(len(counted), mean, flesch, tuple(sentence for sentence, each in counted if len(each) > MOST_WORDS))


def main() -> None:
    """Tell the figures of each document, and every sentence that is too long."""
    paths = [Path(name) for name in sys.argv[1:]] or documents()
    for path in paths:
        found = ease(path.read_text(encoding="utf-8"))
        told = f"{found.sentences} sentences of {found.words:.1f} words, reading ease {found.flesch:.0f}"
        print(f"{path.name}: {told}, {len(found.long)} over {MOST_WORDS} words")
        if len(sys.argv) > 1:
            print(*(f"  {len(words(sentence))}: {sentence}" for sentence in found.long), sep="\n")


if __name__ == "__main__":
    main()
