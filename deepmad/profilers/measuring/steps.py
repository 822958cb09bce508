"""What is told of measurements while they go on: the step that is done, waits, and doubts."""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol


class Tell(Protocol):
    """Takes what is being done, in a few words; a `lasting` line is worth telling at once and for good."""

    def __call__(self, step: str, *, lasting: bool = False) -> None:
        """Take it."""


def untold(step: str, *, lasting: bool = False) -> None:
    """Tell nobody."""


class Once:
    """Lets every sentence pass once; two that differ in their numbers alone are one."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def new(self, sentences: Iterable[str]) -> Iterator[str]:
        """Yield those that have not passed before."""
        for sentence in sentences:
            kind = re.sub(r"\d+([.,]\d+)*", "", sentence)
            if kind not in self._known:
                self._known.add(kind)
                yield sentence
