"""Reading and writing the project's files: one clear error on the way in, whole files on the way out."""

import contextlib
import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from deepmad.search_spaces.errors import InputError, near, shown
from deepmad.search_spaces.faults import counted, fault_told, place_told
from deepmad.search_spaces.json_documents import parsed_json
from deepmad.search_spaces.units import human
from deepmad.search_spaces.yaml_documents import parsed_yaml

T = TypeVar("T")
MOST_BYTES, MOST_YAML_BYTES = 256_000_000, 16_000_000
"""The largest file of JSON or other text that is read, and of YAML, which takes ten times as long."""
PART = ".deepmad-"
"""How the name of a file begins that is not whole yet."""
LEAST_BYTES = 4096
"""Room that the smallest files need."""
_KEPT = "the old content is untouched"
_FREE = f"free some space, or choose another place with -o; {_KEPT}"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORMAT_LINE = re.compile(r"^format: *[\"']?(deepmad/[a-z_]+@1)", re.MULTILINE)
_WAYS_ON = {
    "deepmad/space@1": "it is a space file; design a network first: deepmad design {path} -o solution.json",
    "deepmad/zoo@1": "it is a zoo's spec; make the zoo: deepmad zoo {path} -o zoo",
    "deepmad/solution@1": "it is a solution file, which deepmad show, measure and export take",
    "deepmad/architecture@1": "it is an architecture file, which deepmad show, measure and export take",
}
"""What is to be done with a file that was given in the place of another."""


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old content or all of the new one, never a part.

    Raises `InputError` where the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write `content` as `write_text` writes text.

    What is not whole yet has a hidden name of its own, and is gone if this fails; what a killed process left there of
    its own is removed. A link stays one, and what is no file (a pipe, a terminal) gets the content as it comes.
    """
    try:
        if _is_stream(path):
            path.write_bytes(content)
            return
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_parts(place.parent)
        descriptor, part = _new_part(place.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror}); choose another place with -o") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.chmod(part, 0o644)
            os.replace(part, place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if not isinstance(error, OSError):
            raise
        way_out = _FREE if error.errno in _FULL else _KEPT
        raise InputError(f"{path}: cannot write there ({error.strerror}); {way_out}") from error


def _new_part(folder: Path) -> tuple[int, str]:
    """Return an open file with a hidden name, locked so that nobody takes it for one that was left behind."""
    while True:
        descriptor, part = tempfile.mkstemp(dir=folder, prefix=PART)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(part):  # noqa: PTH110 - else another process was faster, and has removed it
            return descriptor, part
        os.close(descriptor)


def _remove_parts(folder: Path) -> None:
    """Remove what killed processes were writing in a folder: parts that nobody holds a lock on."""
    for part in folder.glob(f"{PART}*"):
        with contextlib.suppress(OSError):  # it is being written, or another user's
            descriptor = os.open(part, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(descriptor)


def _is_stream(path: Path) -> bool:
    """Return whether a path is there and is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_writable(path: Path, option: str = "-o", read: Iterable[str | Path] = ()) -> None:
    """Raise `InputError` where `write_text` could not write, so that no long work is done in vain.

    Nor may it write over a file that is `read` for this. `option` is how the user names another place.
    """
    for source in read:
        with contextlib.suppress(OSError, ValueError):  # there is none
            if path.samefile(source):
                raise InputError(f"{path}: it is read here, and would be lost; choose another place with {option}")
    try:
        if path.is_dir():  # it raises where the name is too long
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_stream(path):
            return
        folder = Path(os.path.realpath(path)).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(LEAST_BYTES))
            stream.flush()
    except OSError as error:
        kept = f"; {_KEPT}" if os.path.isfile(path) else ""  # noqa: PTH113 - which raises for no name
        raise InputError(
            f"{path}: cannot write there ({error.strerror}); choose another place with {option}{kept}"
        ) from error


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text of `path`, without a byte order mark.

    Raises `InputError` where there is none, or one of more than `most` bytes.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror}){_near_files(path)}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror})") from error
    if len(content) > most:
        raise InputError(f"{path}: larger than {human(most, 'bytes')}, the most that is read; give the file meant")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is no UTF-8)") from error


def _near_files(path: Path) -> str:
    """Return a question after the files of the same folder that `path` may misspell; nothing where there are none."""
    try:
        return near(path.name, [one.name for one in path.parent.iterdir() if one.is_file()])
    except OSError:
        return ""


def read_json(path: Path) -> Any:
    """Return the JSON document in `path`, read strictly. Raises `InputError`, which names the command for a space."""
    text = read_text(path)
    try:
        return parsed_json(text, str(path))
    except InputError:
        if (found := _FORMAT_LINE.search(text)) is not None and found[1] in _WAYS_ON:
            raise InputError(f"{path}: {_WAYS_ON[found[1]].format(path=path)}") from None
        raise


def read_yaml(path: Path) -> Any:
    """Return the YAML document in `path`, read strictly. Raises `InputError`."""
    return parsed_yaml(read_text(path, MOST_YAML_BYTES), str(path))


def check_format(document: Any, name: str, source: str) -> None:
    """Raise `InputError` unless `document` says that it is `deepmad/NAME@1`."""
    if not isinstance(document, dict):
        kind = "nothing" if document is None else type(document).__name__
        raise InputError(f"{source}: expected a mapping with format: deepmad/{name}@1, got {kind}")
    found = document.get("format")
    if found == f"deepmad/{name}@1":
        return
    if isinstance(found, str) and found in _WAYS_ON:
        raise InputError(f"{source}: {_WAYS_ON[found].format(path=source)}; here a file of deepmad/{name}@1 is wanted")
    raise InputError(f"{source}: format is {shown(found)}; this version of deepmad reads 'deepmad/{name}@1'")


def validated(adapter: TypeAdapter[T], document: Any, source: str) -> T:
    """Return `document` as the adapter's type; raises `InputError` that names the first offending key."""
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        faults = error.errors()
        unexpected = (fault for fault in faults if fault["type"] == "unexpected_keyword_argument")
        first = next(unexpected, faults[0])  # a key that is misspelt is missing too
        steps = _steps_in(document, first["loc"])
        path = place_told(steps)
        if first["type"] == "value_error":  # our own message, which names value and way out already
            told = ": ".join(filter(None, [path, str(first["ctx"]["error"])]))
            raise InputError(f"{source}: {counted(told)}") from error
        if first["type"] == "unexpected_keyword_argument":
            question = near(first["loc"][-1], sorted(_keys(adapter.json_schema())))
            told = f"{path}: this key is unexpected{question}; leave it out or mend it"
            raise InputError(f"{source}: {counted(told)}") from error
        told = fault_told(first["type"], first["msg"], first.get("ctx", {}), first["input"])
        place = path or "the document"
        raise InputError(f"{source}: {counted(f'{place} {told}')}") from error


def _steps_in(document: Any, steps: Sequence[str | int]) -> Sequence[str | int]:
    """Return the steps to a value; without the last one where it numbers a single value that was read as a list."""
    if not steps or not isinstance(steps[-1], int):
        return steps
    for step in steps[:-1]:
        try:
            document = document[step]
        except (LookupError, TypeError):  # it was written in short, and is read as something longer
            return steps
    return steps if isinstance(document, list | tuple | dict) else steps[:-1]


def _keys(schema: Any) -> set[str]:
    """Return the names of all properties that a JSON Schema tells of, at every depth."""
    if isinstance(schema, list):
        return {key for one in schema for key in _keys(one)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | {key for one in schema.values() for key in _keys(one)}
