"""Documents that this program keeps for itself, sealed with their own digest: no run goes on from a damaged one."""

import hashlib
import json
from pathlib import Path
from typing import Any

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_json, write_text


def write_sealed(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document, with its digest among its keys, whole or not at all. Raises `InputError`."""
    write_text(path, json.dumps(document | {"digest": _digest(document)}) + "\n")


def read_sealed(path: Path, way_out: str) -> dict[str, Any]:
    """Return the document that `write_sealed` wrote, without the digest.

    Raises `InputError` with the way out where the file holds anything else.
    """
    held = read_json(path)
    document = {key: value for key, value in held.items() if key != "digest"} if isinstance(held, dict) else {}
    if not document or held.get("digest") != _digest(document):
        raise InputError(f"{path}: it is damaged, or was changed by hand; {way_out}")
    return document


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
