"""What stands in the place of a good value, and what has to become of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Wanted = Literal["refused", "told", "any"]
"""What has to become of a change: refused; refused or told in a warning; or nothing in particular, as it may mean
something. Tracebacks, half-made files and hangs are faults in any case."""

DIGITS = 5000
LONG = 70_000
DEEP = 100_000


@dataclass(frozen=True)
class Raw:
    """A text that stands in a file as it is, without quotes."""

    text: str


@dataclass(frozen=True)
class Bad:
    """A value in the place of a good one: `name` tells its kind in the results."""

    name: str
    value: Any
    wanted: Wanted = "refused"


def _numbers(form: str) -> list[Bad]:
    """Return what stands for a number in a file of a form, json or yaml."""
    nan, inf = ("NaN", "Infinity") if form == "json" else (".nan", ".inf")
    return [
        Bad("not a number", Raw(nan)),
        Bad("infinite", Raw(inf)),
        Bad("infinite", Raw(f"-{inf}")),
        Bad("beyond floats", Raw("1.0e+400")),
        Bad("beyond floats", Raw("1" * 400)),
        Bad("thousands of digits", Raw("9" * DIGITS)),
        Bad("negative", -1),
        Bad("negative", Raw("-1" + "0" * 30)),
        Bad("text", "abc"),
        Bad("text", ""),
        Bad("list", [1, 2]),
        Bad("list", []),
        Bad("mapping", {"abc": 1}),
        Bad("boolean", True),
        Bad("boolean", False),
        Bad("zero", 0, "any"),
        Bad("null", None, "any"),
        Bad("large", 2**31, "any"),
        Bad("large", Raw("1.0e+300"), "any"),
        Bad("tiny", Raw("1.0e-320"), "any"),
    ]


def _whole(form: str) -> list[Bad]:
    """Return what stands for a whole number."""
    return [
        *_numbers(form),
        Bad("fraction", 1.5),
        Bad("beyond 64 bits", 2**63),
        Bad("beyond 64 bits", 10**23),
        Bad("number as text", "3", "any"),
    ]


def _texts() -> list[Bad]:
    """Return what stands for a text."""
    return [
        Bad("NUL", "ab\0c"),
        Bad("empty text", "", "any"),
        Bad("very long text", "x" * LONG, "any"),
        Bad("text of 300 letters", "n" * 300, "any"),
        Bad("markup", "a[bold]b[/red]c:gear:", "any"),
        Bad("terminal code", "a\x1b[31mb\x1b]0;c\x07", "any"),
        Bad("lines", "a\nb\rc", "any"),
        Bad("formula", "=1+1", "any"),
        Bad("path", "../../a/b", "any"),
        Bad("other script", "網路 \u202eabc", "any"),
        Bad("list", ["a"]),
        Bad("mapping", {"a": 1}),
        Bad("number as text", 5, "any"),
        Bad("boolean", True, "any"),
        Bad("null", None, "any"),
    ]


def _of_yaml(value: Any) -> list[Bad]:
    """Return what only YAML can say."""
    wanted: Wanted = "any" if isinstance(value, str) else "refused"
    return [
        Bad("date", Raw("2026-01-01")),
        Bad("date", Raw("2026-01-01 10:00:00")),
        Bad("tagged", Raw("!!binary aGVsbG8=")),
        Bad("tagged", Raw("!!set {a: null}")),
        Bad("tagged", Raw("!mine 5")),
        Bad("tagged", Raw("!!str 5"), "any"),
        Bad("spoken boolean", Raw("yes"), wanted),
        Bad("anchor", Raw("*nowhere")),
    ]


def stand_ins(value: Any, form: str) -> Sequence[Bad]:
    """Return what may stand in the place of a value in a document."""
    if isinstance(value, bool):
        # 0 and 1 may be read as booleans, a text may not
        found = [
            Bad("number", 2),
            Bad("text", "abc"),
            Bad("list", []),
            Bad("mapping", {"a": 1}),
            Bad("null", None, "any"),
        ]
    elif isinstance(value, int):
        found = _whole(form)
    elif isinstance(value, float):
        found = _numbers(form)
    elif isinstance(value, str):
        found = _texts()
    elif value is None:
        found = [
            Bad("text", "abc"),
            Bad("boolean", True),
            Bad("not a number", Raw("NaN" if form == "json" else ".nan")),
        ]
    elif isinstance(value, list):
        found = [
            Bad("number", 5, "any"),
            Bad("text", "abc", "any"),
            Bad("null", None, "any"),
            Bad("empty list", [], "any"),
        ]
        found += [Bad("mapping", {"abc": 1})]
    else:
        found = [
            Bad("number", 5, "any"),
            Bad("text", "abc", "any"),
            Bad("null", None, "any"),
            Bad("empty mapping", {}, "any"),
        ]
        found += [Bad("list", ["abc"])]
    return [*found, *(_of_yaml(value) if form == "yaml" else [])]


NUMBER_TEXTS = [
    *(Bad("not a number", text) for text in ("nan", "NaN", "-nan")),
    *(Bad("infinite", text) for text in ("inf", "-inf", "1e400", "1" * 400)),
    *(Bad("text", text) for text in ("abc", "", " ", "1,5", "1 2", "0x10", "[bold]1", "1\x1b[31m", "1e", "--5")),
    *(Bad("negative", text) for text in ("-1", "-1e30", "-0.5")),
    Bad("thousands of digits", "9" * DIGITS),
    *(Bad("odd digits", text, "any") for text in ("1_0", "\u0661", " 5 ", "+5", "05", "1e0", "5.")),
    *(Bad("large", text, "any") for text in ("1e300", "1e30", "2147483648", "1099511627776")),
    *(Bad("tiny", text, "any") for text in ("1e-320", "1e-15", "0")),
]
"""Texts in the place of a number, on a command line or in a table."""
WHOLE_TEXTS = [
    *NUMBER_TEXTS,
    Bad("fraction", "1.5"),
    Bad("beyond 64 bits", str(2**63)),
    Bad("beyond 64 bits", str(10**23)),
]
WORD_TEXTS = [
    *(Bad("text", text, "any") for text in ("abc", "", " ", "a:b", "a#5", "timm:", "timm:abc", "none")),
    *(Bad("markup", text, "any") for text in ("a[bold]b[/red]c", "[/]", "a:gear:b")),
    Bad("terminal code", "a\x1b[31mb\x07", "any"),
    Bad("lines", "a\nb", "any"),
    Bad("very long text", "x" * LONG, "any"),
    Bad("other script", "網路\u202eabc", "any"),
]
"""Texts in the place of a word."""


def pick(random_: random.Random, choices: Sequence[Bad]) -> Bad:
    """Return one of the choices, every kind as likely as any other."""
    names = list(dict.fromkeys(bad.name for bad in choices))
    name = random_.choice(names)
    return random_.choice([bad for bad in choices if bad.name == name])
