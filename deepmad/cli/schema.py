"""`deepmad schema`: the JSON Schema of a file that deepmad reads or writes."""

from typing import Annotated, Any

import typer

from deepmad.cli.output import emit_json
from deepmad.search_spaces.errors import InputError, unknown

NAMES = ("architecture", "solution", "space", "zoo")


def schema(
    name: Annotated[str, typer.Argument(help="architecture, solution, space or zoo (the spec of one).")],
) -> None:
    """Print the JSON Schema of a file.

    Example: deepmad schema architecture
    """
    emit_json(schema_of(name))


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of the file called `name`. Raises `InputError` for an unknown one."""
    from deepmad.engine.answers import solutions
    from deepmad.search_spaces import architectures, spaces
    from deepmad.zoo import spec

    adapters: dict[str, Any] = {
        "architecture": architectures.ADAPTER,
        "solution": solutions.ADAPTER,
        "space": spaces.ADAPTER,
        "zoo": spec.ADAPTER,
    }
    if name not in adapters:
        raise InputError(f"schema: {unknown(name, NAMES)}")
    document: dict[str, Any] = adapters[name].json_schema()
    document["properties"]["format"] = {"const": f"deepmad/{name}@1"}
    document["required"] = ["format", *document["required"]]
    if name == "solution":
        network = schema_of("architecture")
        document["$defs"] |= network.pop("$defs") | {"Architecture": network}
        document["properties"]["architecture"] = {"anyOf": [{"$ref": "#/$defs/Architecture"}, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
