"""Changes of one place in a binary file: bytes, a row of a latency table, a part of an ONNX file."""

import random
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import onnx

from benchmarks.bad_inputs.documents import Changed
from benchmarks.bad_inputs.values import DEEP, DIGITS, Bad, Wanted, pick

BROKEN_TEXTS = [
    Bad("text", "abc", "any"),
    Bad("empty text", "", "any"),
    Bad("number", 5, "any"),
    Bad("fraction", 1.5, "any"),
    Bad("zero", 0, "any"),
    Bad("negative", -1, "any"),
    Bad("large", 2**62, "any"),
    Bad("large", 1e300, "any"),
    Bad("infinite", float("inf"), "any"),
    Bad("bytes", b"\0\xff\x1b", "any"),
    Bad("empty document", "[]", "any"),
    Bad("empty document", "{}", "any"),
    Bad("other document", "5", "any"),
    Bad("other document", '{"a": [1]}', "any"),
    Bad("other document", "null", "any"),
    Bad("not a number", "[NaN]", "any"),
    Bad("deep", "[" * DEEP, "any"),
    Bad("thousands of digits", "9" * DIGITS, "any"),
    Bad("terminal code", "a\x1b[31mb\x07", "any"),
    Bad("markup", "[bold]a[/red]", "any"),
    Bad("lines", "a\nb", "any"),
]
REFUSED = {"visits", "anchor", "fit", "architecture"}
"""Columns of documents: what is none in them is refused."""


def changed_bytes(content: bytes, random_: random.Random) -> Changed:
    """Return a binary file that was cut, or damaged in one place."""
    kind = random_.choice(("cut", "byte changed", "bytes lost", "bytes added", "zeros", "empty"))
    place = random_.randrange(len(content))
    wanted: Wanted = "any"
    if kind == "cut":
        made = content[:place]
    elif kind == "byte changed":
        made = content[:place] + bytes([random_.randrange(256)]) + content[place + 1 :]
    elif kind == "bytes lost":
        made = content[:place] + content[place + random_.randrange(1, 64) :]
    elif kind == "bytes added":
        made = content[:place] + random_.randbytes(random_.randrange(1, 64)) + content[place:]
    elif kind == "zeros":
        made = content[:place] + bytes(min(512, len(content) - place)) + content[place + 512 :]
    else:
        made = random_.choice((b"", b"abc", b"\0" * 4096))
        wanted = "refused" if made else "any"  # of an empty file SQLite makes a new one
    return Changed(made, kind, "file", wanted)


def changed_sqlite(content: bytes, random_: random.Random) -> Changed:
    """Return a database with another value in one cell, without a table, a column or rows, or with damaged bytes."""
    what = random_.choices(("cell", "layout", "bytes"), (7, 2, 2))[0]
    if what == "bytes":
        return changed_bytes(content, random_)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        path.write_bytes(content)
        with closing(sqlite3.connect(path)) as connection:
            change = _cell if what == "cell" else _layout
            kind, place, wanted, value = change(connection, random_)
            connection.commit()
        return Changed(path.read_bytes(), kind, place, wanted, value)


def _cell(connection: sqlite3.Connection, random_: random.Random) -> tuple[str, str, Wanted, str]:
    """Put another value into a cell, or part of a document."""
    table = random_.choice([name for name in _tables(connection) if _count(connection, name)])
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    column = random_.choice(columns)
    rows = [row for (row,) in connection.execute(f"SELECT rowid FROM {table}")]
    row = random_.choice(rows)
    (held,) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()
    document = isinstance(held, str) and held[:1] in ("[", "{")
    if document and random_.random() < 0.5:
        value, kind = _changed_json(held, random_)
        wanted: Wanted = "any"
    else:
        bad = pick(random_, [one for one in BROKEN_TEXTS if one.value != held])  # a seed may be 0 already
        value, kind = bad.value, bad.name
        wanted = "refused" if column in REFUSED and kind in ("text", "empty text", "bytes", "deep") else "any"
        if table in ("plans", "failures", "imported_rows"):  # that of which only a build or nothing takes notice
            wanted = "any"
    try:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
    except (sqlite3.IntegrityError, OverflowError):
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
        kind, wanted = "row missing", "any"
    return kind, f"{table}.{column}", wanted, str(value)[:20]


def _changed_json(text: str, random_: random.Random) -> tuple[str, str]:
    """Return a JSON text with a number, a bracket or its end changed, and what was changed."""
    kind = random_.choice(("cut", "number", "number", "bracket"))
    if kind == "cut":
        return text[: random_.randrange(len(text))], kind
    letters = "0123456789" if kind == "number" else "[]{}"
    places = [at for at, letter in enumerate(text) if letter in letters]
    at = random_.choice(places)
    put = random_.choice(("NaN", "-1", "1e400", "null", '"a"', "true", "0", "[]", "1e300", "9" * DIGITS))
    return text[:at] + (put if kind == "number" else "") + text[at + 1 :], f"{kind} in a document"


def _layout(connection: sqlite3.Connection, random_: random.Random) -> tuple[str, str, Wanted, str]:
    """Remove a table, its rows or a column, or give the format another version."""
    table = random_.choice(_tables(connection))
    kind = random_.choice(("table missing", "rows missing", "column missing", "other format", "row twice"))
    if kind == "table missing":
        connection.execute(f"DROP TABLE {table}")
    elif kind == "rows missing":
        connection.execute(f"DELETE FROM {table}")
    elif kind == "row twice":
        connection.execute(f"CREATE TABLE copied AS SELECT * FROM {table}")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM copied UNION ALL SELECT * FROM copied")
    elif kind == "column missing":
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        kept = [column for column in columns if column != random_.choice(columns)] or ["1 AS a"]
        connection.execute(f"CREATE TABLE copied AS SELECT {', '.join(kept)} FROM {table}")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE copied RENAME TO {table}")
    else:
        connection.execute("UPDATE about SET format = ?", (random_.choice(("deepmad/table@2", "", 5, "x\x1b[31m")),))
        return kind, "about.format", "refused", ""
    return kind, table, "any", ""


def _tables(connection: sqlite3.Connection) -> list[str]:
    return sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return int(count)


def changed_onnx(content: bytes, random_: random.Random) -> Changed:
    """Return an ONNX file with one part changed, or with damaged bytes."""
    if random_.random() < 0.25:
        return changed_bytes(content, random_)
    model = onnx.load_model_from_string(content)
    change: Callable[[Any, random.Random], tuple[str, str]] = random_.choice(
        (_sides, _attribute, _attribute, _initialiser, _node, _versions, _names)
    )
    kind, place = change(model, random_)
    return Changed(model.SerializeToString(), kind, place, "any")


def _sides(model: Any, random_: random.Random) -> tuple[str, str]:
    """Change a side of an input, an output or a stored shape."""
    graph = model.graph
    place = random_.choice(("input", "output", "value_info") if graph.value_info else ("input", "output"))
    found = random_.choice(getattr(graph, place)).type.tensor_type.shape.dim
    if not found:
        return "nothing", place
    side = random_.choice(found)
    bad = random_.choice(
        [
            ("zero side", 0),
            ("negative side", -1),
            ("huge side", 10**6),
            ("huge side", 2**62),
            ("odd side", 7),
            ("open side", None),
        ]
    )
    if bad[1] is None:
        side.ClearField("dim_value")
        side.dim_param = random_.choice(("n", "", "a\x1b[31m", "batch"))
    else:
        side.dim_value = bad[1]
    return bad[0], place


def _attribute(model: Any, random_: random.Random) -> tuple[str, str]:
    """Change a number in a node's attributes."""
    nodes = [node for node in model.graph.node if any(one.ints or one.HasField("i") for one in node.attribute)]
    node = random_.choice(nodes)
    attribute = random_.choice([one for one in node.attribute if one.ints or one.HasField("i")])
    value = random_.choice((0, -1, 2**31, 2**62, 7, 1000))
    if attribute.ints:
        attribute.ints[random_.randrange(len(attribute.ints))] = value
    else:
        attribute.i = value
    return "attribute", f"{node.op_type}.{attribute.name}"


def _initialiser(model: Any, random_: random.Random) -> tuple[str, str]:
    """Change the shape, the type or the content of weights, or remove them."""
    place = random_.randrange(len(model.graph.initializer))
    weights = model.graph.initializer[place]
    kind = random_.choice(("weights missing", "weights cut", "weights' shape", "weights' type", "weights elsewhere"))
    if kind == "weights missing":
        del model.graph.initializer[place]
    elif kind == "weights cut":
        weights.raw_data = weights.raw_data[:1]
    elif kind == "weights' shape":
        weights.dims[:] = random_.choice(([], [0], [-1], [2**40], [1] * 9, [*weights.dims, 2]))
    elif kind == "weights' type":
        weights.data_type = random_.choice((0, 2, 7, 8, 16, 99))
    else:
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=random_.choice(("none.bin", "../../none.bin", "")))
    return kind, "initializer"


def _node(model: Any, random_: random.Random) -> tuple[str, str]:
    """Change or remove a node."""
    place = random_.randrange(len(model.graph.node))
    node = model.graph.node[place]
    kind = random_.choice(
        ("node missing", "unknown operator", "other operator", "unknown domain", "loop", "input missing")
    )
    if kind == "node missing":
        del model.graph.node[place]
    elif kind == "unknown operator":
        node.op_type = random_.choice(("Abc", "", "a\x1b[31m", "[bold]"))
    elif kind == "other operator":
        node.op_type = random_.choice(("Relu", "Add", "Conv", "MaxPool", "Gemm", "Reshape", "Einsum", "If", "Loop"))
    elif kind == "unknown domain":
        node.domain = "mine"
    elif kind == "loop":
        node.input[0] = node.output[0]
    else:
        node.input[random_.randrange(len(node.input))] = random_.choice(("", "nowhere"))
    return kind, "node"


def _versions(model: Any, random_: random.Random) -> tuple[str, str]:
    """Change the versions that a file names."""
    if random_.random() < 0.5:
        model.ir_version = random_.choice((0, 1, 999, -1))
        return "ir version", "model"
    model.opset_import[0].version = random_.choice((0, 1, 6, 999, -1))
    return "operator set", "model"


def _names(model: Any, random_: random.Random) -> tuple[str, str]:
    """Give a part a name that is hard to print, or that another has."""
    name = random_.choice(("a\x1b[31mb\x07", "[bold]a[/red]", "a\nb", "", "x" * 1000, "=1+1"))
    what = random_.choice(("graph", "input", "output"))
    part = model.graph if what == "graph" else random_.choice(getattr(model.graph, what))
    old, part.name = part.name, name
    if what == "input":
        for node in model.graph.node:
            node.input[:] = [name if one == old else one for one in node.input]
    elif what == "output":
        for node in model.graph.node:
            node.output[:] = [name if one == old else one for one in node.output]
    return "odd name", what
