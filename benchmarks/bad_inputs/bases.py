"""Valid inputs of every kind: the files, and the command lines that read them."""

import json
import random
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import yaml

from benchmarks.bad_inputs.binaries import changed_onnx, changed_sqlite
from benchmarks.bad_inputs.documents import Changed, changed_document, changed_lines, changed_table
from benchmarks.killed_builds import SPACE
from deepmad.cli.app import run
from deepmad.profilers.building.building import build_table
from deepmad.profilers.importing.timm_files import COLUMNS
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.onnx_files.layer_names import named_layers
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.spaces import parse_space

NETWORK = Architecture(
    32, Stem(8), (Stage("mbconv_se", 16, 48, 3, 2, 2), Stage("basic", 24, 16, 3, 1, 1)), Tail(32), 10
)
TIMER = Timer(seconds=0.004, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
QUICK = ("--deterministic-limit", "0.2", "--workers", "1")
EVOLVE = ("--solver", "evolution", "--generations", "20", "--population", "16", "--workers", "1", "--seed", "9")
TABLE = ("table.sqlite",)
OF_DESIGN = ("space.yaml", "solution.json", "front.csv")
SOLUTION_FREE = (
    "message", "seconds", "solver", "rounds", "explanation", "clash", "near", "alternatives", "predicted", "measured",
    "predicted_by_device", "objective", "bound", "gap", "limits", "status",
)  # fmt: skip
"""What a solution file tells beside its network; what `show` does of it is left open here."""


@dataclass(frozen=True)
class Base:
    """A kind of file: its name, the commands that read it, how it is changed, and files that stand beside it.

    `weight` is how often it is drawn.
    """

    kind: str
    file: str
    commands: tuple[tuple[str, ...], ...]
    change: Callable[[bytes, random.Random], Changed]
    beside: tuple[str, ...] = ()
    weight: int = 10


def _document(form: str, free: Sequence[str] = ()) -> Callable[[bytes, random.Random], Changed]:
    """Return what changes a document of a form."""
    read = json.loads if form == "json" else yaml.safe_load
    return lambda content, random_: changed_document(read(content), form, random_, free)


def _import(form: str, file: str, *more: str) -> tuple[tuple[str, ...], ...]:
    options = ("--from", form, "--device", "made up", "--precision", "fp32", "-o", "out.sqlite", "--json")
    return (("table", "import", file, *options, *more),)


BASES = (
    Base(
        "space", "space.yaml",
        (
            ("design", "space.yaml", *QUICK, "-o", "out.json", "--json"),
            ("design", "space.yaml", *QUICK, "-o", "out.json"),
            ("design", "space.yaml", *EVOLVE, "--json"),
            ("zoo", "spec.yaml", "--dry-run", "--json"),
        ),
        _document("yaml"), ("spec.yaml", "network.json", *TABLE), 25,
    ),
    Base(
        "architecture", "network.json",
        (
            ("show", "network.json", "--json"), ("show", "network.json"), ("compare", "network.json", "solution.json"),
            ("export", "network.json", "--to", "module", "-o", "out.py", "--json"),
            ("export", "network.json", "--to", "timm", "-o", "out.py"),
            ("export", "network.json", "--to", "onnx", "-o", "out.onnx"),
            ("export", "network.json", "--to", "weights", "-o", "out.safetensors"),
            ("measure", "network.json", "--seconds", "0.001", "--no-reference", "--json"),
        ),
        _document("json"), ("solution.json",), 20,
    ),
    Base(
        "solution", "solution.json",
        (
            ("show", "solution.json", "--json"), ("show", "solution.json"), ("show", "solution.json#1"),
            ("compare", "solution.json", "network.json", "--json"),
            ("export", "solution.json", "--to", "module", "-o", "out.py"),
        ),
        _document("json", SOLUTION_FREE), ("network.json",), 15,
    ),
    Base(
        "zoo spec", "spec.yaml", (("zoo", "spec.yaml", "--dry-run", "--json"), ("zoo", "spec.yaml", "--dry-run")),
        _document("yaml", ("title", "devices.[].name", "references.[].name")),
        ("space.yaml", "network.json", *TABLE), 20,
    ),
    Base(
        "table", "table.sqlite",
        (
            ("table", "show", "table.sqlite", "--json"), ("table", "show", "table.sqlite"),
            ("table", "export", "table.sqlite", "--to", "csv", "-o", "out.csv"),
            ("table", "export", "table.sqlite", "--to", "json", "-o", "out.json"),
            ("design", "space.yaml", "--latency", "1s", "--table", "table.sqlite", *QUICK, "-o", "out.json", "--json"),
            ("table", "build", "space.yaml", "--minutes", "0", "-o", "table.sqlite", "--json"),
        ),
        changed_sqlite, ("space.yaml",), 20,
    ),
    Base(
        "imported table", "imported.sqlite",
        (
            ("table", "show", "imported.sqlite", "--json"),
            ("table", "export", "imported.sqlite", "--to", "csv", "-o", "out.csv"),
            ("design", "space.yaml", "--latency", "1s", "--table", "imported.sqlite", *QUICK, "--json"),
        ),
        changed_sqlite, ("space.yaml",), 8,
    ),
    Base("tinynas file", "times.out", _import("tinynas", "times.out"), changed_lines),
    Base("ofa file", "lut.yaml", _import("ofa", "lut.yaml"), _document("yaml", ("*",))),
    Base(
        "trtexec file", "profile.json", _import("trtexec", "profile.json", "--model", "network.json"),
        _document("json", ("*",)), ("network.json",),
    ),
    Base(
        "timm file", "benchmark.csv", _import("timm", "benchmark.csv"),
        partial(changed_table, separator=",", used=("model", *COLUMNS)),
    ),
    Base(
        "ONNX file", "network.onnx",
        (
            ("measure", "network.onnx", "--seconds", "0.001", "--no-reference", "--json"),
            ("measure", "network.onnx", "--seconds", "0.001", "--no-reference", "-o", "out.csv"),
            ("measure", "network.onnx", "--seconds", "0.001", "--table", "table.sqlite", "--json"),
        ),
        changed_onnx, TABLE, 20,
    ),
    Base(
        "checkpoint", "evolution.json",
        (("design", "space.yaml", *EVOLVE, "--checkpoint", "evolution.json", "-o", "out.json", "--json"),),
        _document("json", ("seconds", "best", "islands", "verdicts", "log")), ("space.yaml",),
    ),
    *(
        Base(
            "zoo folder", f"zoo/{name}", (("zoo", "spec.yaml", "-o", "zoo", "--json"),),
            _document("json", ("*",)), ("spec.yaml", "space.yaml", "network.json", "zoo", *TABLE), 1,
        )
        for name in (".zoo/spec.json", ".zoo/tables.json", ".zoo/{entry}", ".zoo/{solved}", ".zoo/{free}")
    ),
)  # fmt: skip


def make_all(folder: Path) -> None:
    """Write all files into a folder; every one is read once, and found good."""
    (folder / "space.yaml").write_text(SPACE)
    (folder / "network.json").write_text(json.dumps(NETWORK.to_dict(), indent=1))
    build_table(parse_space(SPACE, "tiny"), folder / "table.sqlite", networks=12, short=12, timer=TIMER)
    (folder / "times.out").write_text("\n".join(_tinynas()) + "\n")
    (folder / "lut.yaml").write_text(yaml.safe_dump(_ofa()))
    (folder / "profile.json").write_text(json.dumps(_trtexec(), indent=1))
    (folder / "benchmark.csv").write_text("\n".join(_timm()) + "\n")
    (folder / "spec.yaml").write_text(yaml.safe_dump(_spec(), sort_keys=False))
    _must("export", folder / "network.json", "--to", "onnx", "-o", folder / "network.onnx")
    _must("design", folder / "space.yaml", *QUICK, "-o", folder / "solution.json")
    _must("design", folder / "space.yaml", *EVOLVE, "--generations", 10, "--checkpoint", folder / "evolution.json")
    options = ("--from", "tinynas", "--device", "made up", "--precision", "fp32")
    _must("table", "import", folder / "times.out", *options, "-o", folder / "imported.sqlite")
    _must("zoo", folder / "spec.yaml", "-o", folder / "zoo")


def _must(*arguments: object) -> None:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        code = run([str(one) for one in arguments])
    assert code == 0, f"{arguments}: {code}"


def _spec() -> dict[str, object]:
    """Return a spec whose fields have values of all kinds."""
    return {
        "format": "deepmad/zoo@1",
        "title": "a zoo",
        "spaces": ["space.yaml"],
        "devices": [{"name": "cpu", "table": "table.sqlite", "backend": "onnxruntime", "batch": 1, "threads": 1}],
        "targets": {"relative": {"from": 1.1, "to": 1.5, "count": 2}},
        "limits": {"macs": "10M", "params": "space", "rho": 0.3, "memory": "64MB"},
        "solver": {"deterministic_limit": 0.2, "workers": 1, "gap": 0.5, "seed": 1, "time_limit": "8s"},
        "verify": {"measure": False, "rounds": 2, "seconds": 0.1},
        "references": ["network.json", {"name": "theirs", "device": "cpu", "latency": "5ms", "macs": "1M"}],
    }


def _tinynas() -> list[str]:
    """Return the lines of a table whose times a made-up device took."""
    found = []
    for kind, inputs, outputs in [("Regular", a, b) for a in (3, 8, 16, 64) for b in (8, 16, 64)] + [
        ("Depthwise", c, c) for c in (8, 16, 64)
    ]:
        for side, kernel, stride in [
            (side, kernel, stride) for side in (4, 8, 32) for kernel in (1, 3, 5) for stride in (1, 2)
        ]:
            macs = (side // stride) ** 2 * outputs * kernel**2 * (1 if kind == "Depthwise" else inputs)
            found.append(f"{{{kind},1,{inputs},{side},{side},{outputs},{kernel},{stride},0}} {0.01 + macs / 1e8:.6g}")
    return found


def _ofa() -> dict[str, dict[str, float]]:
    """Return a table with every kind of entry."""
    keys = [f"first_conv-input:{2 * side}x{2 * side}x3-output:{side}x{side}x16" for side in (16, 32)]
    for side in (8, 16, 32):
        for width in (16, 32):
            for kernel in (3, 5):
                for expand in (1, 3, 6):
                    size, smaller = f"{side}x{side}x{width}", f"{side // 2}x{side // 2}x{width + 8}"
                    inner = f"expand:{expand}-kernel:{kernel}"
                    keys.append(f"MBConv-input:{size}-output:{size}-{inner}-stride:1-idskip:1-se:0")
                    keys.append(f"MBConv-input:{size}-output:{smaller}-{inner}-stride:2-idskip:0-se:1")
    keys += ["final_expand_layer-input:8x8x32-output:8x8x192", "feature_mix_layer-input:1x1x192-output:1x1x256"]
    keys.append("classifier-input:256-output:10")
    return {key: {"mean": round(0.01 + _product(key) / 1e6, 6), "var": 0.0} for key in keys}


def _product(key: str) -> float:
    """Return a number that grows with the sizes in a key."""
    sizes = [int(text) for text in re.findall(r"\d+", key.partition("-output")[0])]
    return float(np.prod(sizes) * len(key))


def _trtexec() -> list[dict[str, object]]:
    """Return a profile of the network."""
    layers = [(name, 2 + layer.macs / 1e5) for name, layer in named_layers(NETWORK)]
    return [
        {"count": 50},
        *(
            {"name": name, "timeMs": 50 * time, "averageMs": time, "medianMs": time, "percentage": 1.0}
            for name, time in layers
        ),
    ]


def _timm() -> list[str]:
    """Return the lines of a benchmark table of 60 networks."""
    generator = np.random.default_rng(0)
    found = [f"model,infer_step_time,{','.join(COLUMNS)}"]
    for index in range(60):
        gmacs, mparams, macts = (round(float(value), 2) for value in generator.uniform(0.5, 50, 3))
        seconds = 1e-3 + 8 * (2e-3 * gmacs + 1e-4 * macts) + 1e-5 * mparams
        found.append(f"net{index},{1e3 * seconds:.3f},224,{8 / seconds:.4f},8,{mparams},{gmacs},{macts}")
    return found
