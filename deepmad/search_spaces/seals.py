"""Sealed files: what deepmad alone writes and reads again, with a digest that tells any change of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_json, write_text

_KEY = "digest"


def write_sealed(path: Path, document: dict[str, Any]) -> None:
    """Write a document with its digest, whole or not at all. Raises `InputError`."""
    write_text(path, json.dumps({_KEY: _digest(document)} | document, allow_nan=False) + "\n")


def unsealed(document: Any, source: Path, way_out: str) -> dict[str, Any]:
    """Return a document that was read without its digest.

    Raises `InputError`, with the way out, where it is not what was written.
    """
    if isinstance(document, dict):
        content = {key: value for key, value in document.items() if key != _KEY}
        if document.get(_KEY) == _digest(content):
            return content
    raise InputError(f"{source}: damaged: it is not what deepmad wrote (its digest does not fit); {way_out}")


def read_sealed(path: Path, way_out: str) -> dict[str, Any]:
    """Return the document of a sealed file. Raises `InputError` as `unsealed` does, and where there is none."""
    return unsealed(read_json(path), path, way_out)


def _digest(document: dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
