"""YAML read strictly: one meaning for every value, or an error that names its line.

Refused are keys given twice, tags, and plain words that two readers of YAML understand differently: `no`, `1_000`,
`010`, `12:30`, a date. The document is built from the parser's events without recursion, so that no depth ends the
process.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.json_documents import MOST_DEPTH, TOO_DEEP, check_text, decimal, twice, whole

MOST_VALUES = 2_000_000
"""Values of a document, those that aliases repeat counted again."""
MOST_READ_AGAIN = 100_000
"""Characters up to which a text that is no YAML is read once more, by the slower loader."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
_WORDS = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9]\d*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", re.ASCII)
_MERGE = "<<"


def parsed_yaml(text: str, source: str) -> Any:
    """Return the document of a YAML text: dicts with text as keys, lists, text, int, float, bool and None.

    `source` is what errors call it. Raises `InputError` with the line.
    """
    try:
        return _built(text, source)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{source}: not YAML: the character {error.character:#x} at line {line}; remove it") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{source}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}{where}") from error


def _built(text: str, source: str) -> Any:
    """Return the document of a YAML text. Raises what the loader in Python does, which tells best where an error is."""
    try:
        return _Builder(source).built(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError:
        if len(text) > MOST_READ_AGAIN:
            raise
        return _Builder(source).built(yaml.parse(text, Loader=yaml.SafeLoader))


@dataclass(frozen=True)
class _Value:
    """A value: how many values it holds, itself included, and how many lists and mappings it is deep."""

    content: Any
    values: int = 1
    depth: int = 0


@dataclass
class _Open:
    """A list or mapping whose end is to come: `key` waits for its value, `merged` are mappings behind `<<`."""

    content: Any
    anchor: str | None
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)
    merged: list[dict[str, Any]] = field(default_factory=list)
    values: int = 1
    depth: int = 1

    @property
    def wants_key(self) -> bool:
        """Whether a key comes next."""
        return isinstance(self.content, dict) and self.key is None

    def closed(self) -> _Value:
        """Return the whole of it; its own keys count before those merged, and of these the first."""
        for one in self.merged:
            self.content = one | self.content
        return _Value(self.content, self.values, self.depth)


class _Builder:
    """What the events read so far make."""

    def __init__(self, source: str) -> None:
        self.source, self.line = source, 0
        self.opened: list[_Open] = []
        self.anchors: dict[str, _Value] = {}
        self.whole: list[Any] = []

    def built(self, events: Iterator[yaml.Event]) -> Any:
        """Return the document that all events make; None where there is none."""
        for event in events:
            self.line = 1 if event.start_mark is None else event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent) and self.whole:
                raise self.error("a second document begins; give each a file of its own")
            if (tag := getattr(event, "tag", None)) is not None:
                raise self.error(f"the tag {tag} is not read; leave it out, and put text in quotes")
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self.open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                inner = self.opened.pop()
                self.put(inner.closed(), inner.anchor)
            elif isinstance(event, yaml.ScalarEvent):
                self.put(_Value(self.scalar(event)), event.anchor)
            elif isinstance(event, yaml.AliasEvent):
                self.put(self.known(str(event.anchor)), None)
        return self.whole[0] if self.whole else None

    def error(self, message: str) -> InputError:
        """Return the error with the line that is being read."""
        return InputError(f"{self.source}: line {self.line}: {message}")

    def open(self, content: Any, anchor: str | None) -> None:
        """Begin a list or mapping."""
        if len(self.opened) == MOST_DEPTH:
            raise self.error(TOO_DEEP)
        if self.opened and self.opened[-1].wants_key:
            raise self.error("a list or mapping is no key; a key is text (text with braces needs quotes)")
        self.opened.append(_Open(content, anchor))

    def known(self, anchor: str) -> _Value:
        """Return what an alias stands for."""
        if anchor not in self.anchors:
            raise self.error(f"*{anchor} stands for nothing that ends before it; text that begins with * needs quotes")
        return self.anchors[anchor]

    def put(self, value: _Value, anchor: str | None) -> None:
        """Put a value in its place in the innermost list or mapping."""
        if anchor is not None:
            self.anchors[anchor] = value
        if not self.opened:
            self.whole.append(value.content)
            return
        inner = self.opened[-1]
        inner.values += value.values
        inner.depth = max(inner.depth, value.depth + 1)
        if inner.values > MOST_VALUES:
            raise self.error(f"there are more than {MOST_VALUES:,} values; aliases repeat too much")
        if len(self.opened) + value.depth > MOST_DEPTH:
            raise self.error(TOO_DEEP)
        if inner.wants_key:
            inner.key = self.key(inner, value.content)
        elif isinstance(inner.content, list):
            inner.content.append(value.content)
        else:
            if inner.key == _MERGE:
                inner.merged += self.mappings(value.content)
            else:
                inner.content[inner.key] = value.content
            inner.key = None

    def key(self, inner: _Open, content: Any) -> str:
        """Return a mapping's next key."""
        if not isinstance(content, str):
            raise self.error(f"the key {shown(content)} is no text; put it in quotes")
        if content in inner.lines:
            raise self.error(twice(content, inner.lines[content]))
        inner.lines[content] = self.line
        return content

    def mappings(self, content: Any) -> list[dict[str, Any]]:
        """Return the mappings that `<<` takes into another one."""
        found = content if isinstance(content, list) else [content]
        if not all(isinstance(one, dict) for one in found):
            raise self.error("<< takes a mapping, or a list of them")
        return found

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        """Return what a scalar means: text in quotes and blocks, else a word, a number or text."""
        text: str = event.value
        check_text(text, f"{self.source}: line {self.line}")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        try:
            if _INTEGER.fullmatch(text):
                return whole(text)
            if _DECIMAL.fullmatch(text):
                return decimal(text)
        except InputError as error:
            raise self.error(str(error)) from error
        if text != _MERGE and _ambiguous(text):
            raise self.error(
                f"{shown(text)} means different things to different readers of YAML; write true, false or a decimal "
                "number like 1000, or put it in quotes"
            )
        return text


def _ambiguous(text: str) -> bool:
    """Whether YAML 1.1 takes a plain word for something else than text."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], [])
    return any(pattern.match(text) for _, pattern in resolvers)
