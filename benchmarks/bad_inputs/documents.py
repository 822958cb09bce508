"""Changes of one place in a document (JSON or YAML) or a table of text (CSV, or lines)."""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from benchmarks.bad_inputs.values import DEEP, NUMBER_TEXTS, WORD_TEXTS, Raw, Wanted, pick, stand_ins

Path = tuple[str | int, ...]
FRACTIONS = {"expansion", "alpha", "beta", "growth", "width_ratio"}
"""Keys whose values are whole here and may be fractions."""


@dataclass(frozen=True)
class Changed:
    """A file's new content, what was changed how (`kind`) and where (`place`), and what has to become of it.

    `value` is what stands there now, as an error may name it.
    """

    content: bytes
    kind: str
    place: str
    wanted: Wanted
    value: str = ""


def changed_document(document: Any, form: str, random_: random.Random, free: Sequence[str] = ()) -> Changed:
    """Return a document of a form, json or yaml, with one change; below the paths `free` anything may stand."""
    what = random_.choices(("value", "key", "text"), (8, 3, 2))[0]
    if what == "value":
        return _with_value(document, form, random_, free)
    if what == "key":
        return _with_key(document, form, random_, free)
    changed = changed_text(_dumped(document, form).encode(), random_, form)
    return replace(changed, wanted="any") if "*" in free else changed


def _with_value(document: Any, form: str, random_: random.Random, free: Sequence[str]) -> Changed:
    """Return the document with another value in one place."""
    places = [path for path in _paths(document) if path]
    path = random_.choice(places)
    value = _at(document, path)
    bad = pick(random_, stand_ins(value, form))
    meant = _is_free(path, free) or (bad.name == "fraction" and FRACTIONS & set(path))
    wanted = "any" if meant and bad.wanted == "refused" else bad.wanted
    return Changed(
        _encoded(_replaced(document, path, bad.value), form), bad.name, _named(path), wanted, _told(bad.value)
    )


def _with_key(document: Any, form: str, random_: random.Random, free: Sequence[str]) -> Changed:
    """Return the document with a key removed, added, misspelt or given twice."""
    path = random_.choice(
        [path for path in _paths(document) if isinstance(_at(document, path), dict) and _at(document, path)]
    )
    held = dict(_at(document, path))
    key = random_.choice(list(held))
    kind = random_.choice(("removed key", "unknown key", "misspelt key", "key given twice", "odd key"))
    wanted: Wanted = "refused"
    if kind == "removed key":
        del held[key]
        wanted = "any"
    elif kind == "unknown key":
        held["surplus"] = 1
    elif kind == "misspelt key":
        held = {(f"{one}x" if one == key else one): value for one, value in held.items()}
    elif kind == "odd key":
        held[random_.choice(("", "a\x1b[31m", "[bold]", "a\nb", "x" * 300))] = 1
    else:
        held[_Twice(key)] = held[key] if random_.random() < 0.5 else random_.choice((1, "abc", None))
    wanted = "any" if _is_free((*path, key), free) and kind != "key given twice" else wanted
    return Changed(_encoded(_replaced(document, path, held), form), kind, _named((*path, key)), wanted)


def _told(value: Any) -> str:
    """Return how an error may name a value."""
    return value.text.split()[-1][:20] if isinstance(value, Raw) else str(value)[:20]


class _Twice(str):
    """A key that stands beside an equal one."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _paths(document: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all values, at most eight in a list."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _paths(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:8]):
            yield from _paths(value, (*path, index))


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _replaced(document: Any, path: Path, value: Any) -> Any:
    """Return a copy of a document with another value in one place."""
    if not path:
        return value
    made = copy.copy(document)
    made[path[0]] = _replaced(document[path[0]], path[1:], value)
    return made


def _named(path: Path) -> str:
    """Return a path in words; keys of no fixed name and places in lists are left out."""
    return ".".join("[]" if isinstance(step, int) else str(step)[:40] for step in path)


def _is_free(path: Path, free: Sequence[str]) -> bool:
    named = _named(path)
    return any(named == one or named.startswith(f"{one}.") or one == "*" for one in free)


def _encoded(document: Any, form: str) -> bytes:
    return _dumped(document, form).encode("utf-8", "surrogatepass")


def _dumped(document: Any, form: str) -> str:
    """Return a document as text; `Raw` values and keys that stand twice are put in afterwards."""
    marks: dict[str, str] = {}

    def marked(text: str) -> str:
        mark = f"@@{len(marks)}@@"
        marks[mark] = text
        return mark

    def plain(value: Any) -> Any:
        if isinstance(value, Raw):
            return marked(value.text)
        if isinstance(value, dict):
            return {
                (marked(json.dumps(str(key))) if isinstance(key, _Twice) else key): plain(one)
                for key, one in value.items()
            }
        return [plain(one) for one in value] if isinstance(value, list) else value

    document = plain(document)
    text = json.dumps(document, indent=1) if form == "json" else yaml.safe_dump(document, sort_keys=False)
    for mark, raw in marks.items():
        for quoted in (f'"{mark}"', f"'{mark}'"):
            text = text.replace(quoted, raw)
    return text


def changed_text(content: bytes, random_: random.Random, form: str) -> Changed:
    """Return a text file that was cut, damaged or wrapped."""
    kind = random_.choice(
        ("cut", "byte changed", "bytes added", "empty", "byte order mark", "deep", "other encoding", "many aliases")
    )
    wanted: Wanted = "any"
    if kind == "cut":
        made = content[: random_.randrange(1, len(content))]
    elif kind == "byte changed":
        place = random_.randrange(len(content))
        made = content[:place] + bytes([random_.randrange(256)]) + content[place + 1 :]
    elif kind == "bytes added":
        place = random_.randrange(len(content))
        made = content[:place] + random_.choice((b"\0", b"\xff\xfe", b"\x1b[31m", b"\t", b"{", b"]")) + content[place:]
    elif kind == "empty":
        made, wanted = random_.choice((b"", b"\n", b"null", b"[]", b"{}", b"5")), "refused"
    elif kind == "byte order mark":
        made = b"\xef\xbb\xbf" + content
    elif kind == "other encoding":
        made = content.decode("utf-8", "replace").encode("utf-16")
        wanted = "refused" if form != "csv" else "any"
    elif kind == "many aliases" and form == "yaml":
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        made, wanted = "\n".join(lines).encode() + b"\n" + content, "refused"
    else:
        opening = random_.choice(("[", '{"a": ')) if form == "json" else random_.choice(("[", "{a: "))
        kind, made, wanted = "deep", (opening * DEEP).encode(), "refused"
    return Changed(made, kind, "file", wanted)


def changed_table(content: bytes, random_: random.Random, separator: str, used: Sequence[str]) -> Changed:
    """Return a CSV with one change; cells of the columns `used` have to be good, others may hold anything."""
    lines = content.decode().splitlines()
    header, row = lines[0].split(separator), random_.randrange(1, len(lines))
    kind = random_.choice(
        ("cell", "cell", "cell", "cell", "column twice", "column missing", "separator", "row", "file")
    )
    if kind == "file":
        return changed_text(content, random_, "csv")
    wanted: Wanted = "told"
    place = random_.randrange(len(header))
    name = header[place]
    if kind == "cell":
        cells = lines[row].split(separator)
        bad = pick(random_, WORD_TEXTS if place == 0 else NUMBER_TEXTS)
        cells[place] = bad.value.replace(separator, " ").replace("\n", " ")
        lines[row] = separator.join(cells)
        kind, wanted = bad.name, "told" if name in used and bad.wanted == "refused" else "any"
    elif kind == "column twice":
        lines = [f"{line}{separator}{line.split(separator)[place]}" for line in lines]
        wanted = "told" if name in used else "any"
    elif kind == "column missing":
        lines = [separator.join(cell for at, cell in enumerate(line.split(separator)) if at != place) for line in lines]
        wanted = "any"
    elif kind == "separator":
        lines, wanted = [line.replace(separator, ";") for line in lines], "any"
    else:
        lines[row] = random_.choice(("", f"{lines[row]}{separator}1", lines[row].split(separator)[0], lines[0]))
        wanted = "any"
    return Changed(("\n".join(lines) + "\n").encode(), kind, name, wanted)


def changed_lines(content: bytes, random_: random.Random) -> Changed:
    """Return lines of numbers and words (tinynas) with a change in one of them."""
    lines = content.decode().splitlines()
    if random_.random() < 0.2:
        return changed_text(content, random_, "lines")
    row = random_.randrange(len(lines))
    numbers = [at for at, letter in enumerate(lines[row]) if letter.isdigit() and not lines[row][at - 1].isalnum()]
    at = random_.choice(numbers)
    end = at
    while end < len(lines[row]) and (lines[row][end].isdigit() or lines[row][end] in ".e-"):
        end += 1
    bad = pick(random_, NUMBER_TEXTS)
    lines[row] = lines[row][:at] + bad.value.replace("\n", " ") + lines[row][end:]
    # -1 says that nothing was measured, and other times below zero are no times either
    wanted: Wanted = "any" if bad.name in ("negative", "tiny") else bad.wanted
    return Changed(("\n".join(lines) + "\n").encode(), bad.name, "line", "told" if wanted == "refused" else "any")
