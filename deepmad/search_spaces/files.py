"""Reading and writing the project's files: one clear error on the way in, whole files on the way out."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from deepmad.search_spaces.errors import InputError, near, shown
from deepmad.search_spaces.json_documents import parsed_json
from deepmad.search_spaces.units import human
from deepmad.search_spaces.yaml_documents import parsed_yaml

T = TypeVar("T")
MOST_BYTES, MOST_YAML_BYTES = 256_000_000, 16_000_000
"""The largest file of JSON or other text that is read, and of YAML, which takes ten times as long."""


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old content or all of the new one, never a part.

    Raises `InputError` where the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` as `write_text` writes text."""
    if path.is_dir():
        raise InputError(f"{path}: cannot write there, it is a folder; name a file in it with -o")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror}); choose another place with -o") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise InputError(f"{path}: cannot write there ({error.strerror}); the old content is untouched") from error


def check_writable(path: Path, option: str = "-o") -> None:
    """Raise `InputError` where `write_text` could not write, so that no long work is done in vain.

    `option` is how the user names another place.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: cannot write there ({error.strerror}); choose another place with {option}"
        ) from error


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text of `path`, without a byte order mark.

    Raises `InputError` where there is none, or one of more than `most` bytes.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror})") from error
    if len(content) > most:
        raise InputError(f"{path}: larger than {human(most, 'bytes')}, the most that is read; give the file meant")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is no UTF-8)") from error


def read_json(path: Path) -> Any:
    """Return the JSON document in `path`, read strictly. Raises `InputError`."""
    return parsed_json(read_text(path), str(path))


def read_yaml(path: Path) -> Any:
    """Return the YAML document in `path`, read strictly. Raises `InputError`."""
    return parsed_yaml(read_text(path, MOST_YAML_BYTES), str(path))


def check_format(document: Any, name: str, source: str) -> None:
    """Raise `InputError` unless `document` says that it is `deepmad/NAME@1`."""
    if not isinstance(document, dict):
        kind = "nothing" if document is None else type(document).__name__
        raise InputError(f"{source}: expected a mapping with format: deepmad/{name}@1, got {kind}")
    found = document.get("format")
    if found != f"deepmad/{name}@1":
        raise InputError(f"{source}: format is {shown(found)}; this version of deepmad reads 'deepmad/{name}@1'")


def validated(adapter: TypeAdapter[T], document: Any, source: str) -> T:
    """Return `document` as the adapter's type; raises `InputError` that names the first offending key."""
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).lstrip(".")
        if first["type"] == "value_error":  # our own message, which names value and way out already
            raise InputError(": ".join(filter(None, [source, path, str(first["ctx"]["error"])]))) from error
        if first["type"] == "unexpected_keyword_argument":
            question = near(first["loc"][-1], sorted(_keys(adapter.json_schema())))
            raise InputError(f"{source}: {path}: this key is unexpected{question}; leave it out or mend it") from error
        given = "" if first["type"] == "missing_argument" else f" (got {shown(first['input'])})"
        raise InputError(
            f"{source}: {path or 'document'}: {first['msg'].replace('valid tuple', 'valid list')}{given}"
        ) from error


def _keys(schema: Any) -> set[str]:
    """Return the names of all properties that a JSON Schema tells of, at every depth."""
    if isinstance(schema, list):
        return {key for one in schema for key in _keys(one)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | {key for one in schema.values() for key in _keys(one)}
