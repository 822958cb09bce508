"""Zoos as `deepmad zoo` writes them into zoo.json, of any size and of all outcomes, for the tests of the report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deepmad.engine.answers.summaries import summary
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import total_macs, total_params
from tests.catalogue import published

Document = dict[str, Any]

HOSTILE = "<script>window.hacked = 1</script>\"'><img src=x onerror='window.hacked = 1'>"
"""A text that a page must show, and not run."""

OUTCOMES = ("met", "met", "missed", "met", "infeasible", "failed")
MESSAGES = {
    "met": "the network is proven to be within 0.79% of the optimum; measured within the target",
    "missed": "the best network that was found is measured above the target; loosen it or give more rounds",
    "infeasible": "no network of the space keeps latency_seconds and params together; loosen one of them",
    "failed": "no network was found within 60 s; give more time",
}
STATUSES = {"met": "optimal", "missed": "feasible", "infeasible": "infeasible", "failed": "unknown"}
DEVICES: Sequence[Document] = (
    {"name": "cpu", "device": "AMD EPYC 7B13", "backend": "onnxruntime", "version": "1.32.0", "precision": "fp32",
     "batch": 1, "threads": 1, "table": "cpu.sqlite", "table_space": "any", "interval": [0.95, 1.06], "measured": True},
    {"name": "v100", "device": "V100", "backend": "tensorrt", "version": "unknown", "precision": "fp16",
     "batch": 64, "threads": 1, "table": "v100.sqlite", "table_space": "any", "interval": None, "measured": False},
)  # fmt: skip
OPERATIONS = {"cpu": 3e10, "v100": 6e12}
"""Multiply-accumulates a second of each device: a latency as smooth as a test needs."""


def zoo_document(entries: int, outcomes: Sequence[str] = OUTCOMES) -> Document:
    """Return a finished zoo of so many entries, which take the outcomes in turn, on one device, on two from 12 on."""
    devices = DEVICES[: 2 if entries >= 12 else 1]
    each = -(-entries // len(devices))
    made = [entry(index, outcomes[index % len(outcomes)], devices[index // each]) for index in range(entries)]
    assert len({one["name"] for one in made}) == entries
    return {
        "format": "deepmad/zoo_results@1",
        "deepmad": {"version": "0.1.0", "commit": "0123abcd"},
        "date": "2026-11-23T08:00:00+00:00",
        "finished": True,
        "title": None,
        "spec": {"format": "deepmad/zoo@1", "spaces": ["r18"], "targets": [f"{20 + index}ms" for index in range(3)]},
        "objective": "paper",
        "devices": [dict(device) for device in devices],
        "baselines": [_baseline(devices[0])],
        "references": _references(devices[0]),
        "entries": made,
    }


def entry(index: int, outcome: str, device: Document) -> Document:
    """Return the entry number `index` of an outcome on a device."""
    network = network_of(index) if outcome in ("met", "missed") else None
    batch, latency = device["batch"], _seconds(network_of(index), device)
    measured = network is not None and device["measured"]
    truth = latency * (1.03 if outcome == "missed" else 0.93 + 0.02 * (index % 5))
    target = latency * (0.98 if outcome == "missed" else 1.02)
    known = {"macs": 2.2e9, "params": 13e6, "rho": 0.4, "latency_seconds": target}
    used = _used(network, device)
    return {
        "name": f"deepmad_r18_{device['name']}_{device['precision']}_b{batch}_{1e3 * target:.5g}ms".replace(".", "p"),
        "outcome": outcome,
        "judged_by": None if network is None else "measured" if measured else "predicted",
        "space": "r18",
        "device": device["name"],
        **{key: device[key] for key in ("backend", "precision", "batch", "threads")},
        "resolution": 224,
        "classes": 1000,
        "target": {"latency_seconds": target, "throughput": batch / target, "relative": 1.5 if index % 2 else None},
        "limits": {name: _use(limit, used.get(name)) for name, limit in known.items()},
        "binding": [name for name, limit in known.items() if used.get(name, 0.0) >= 0.98 * limit],
        "status": STATUSES[outcome],
        "message": MESSAGES[outcome],
        "solve_seconds": 12.5,
        "rounds": [_round(target, latency, truth)] if measured else None,
        **_figures(network, device, truth, target),
        "files": _files(network),
    }


def network_of(index: int) -> Architecture:
    """Return the structure number `index`: the published DeepMAD-R18 at other depths, 231 in all."""
    network = published("r18")
    depths = [1 + index % 3, 2 + index % 7, 4 + index % 11, 10, 12]
    stages = tuple(replace(stage, depth=depth) for stage, depth in zip(network.stages, depths, strict=True))
    return replace(network, stages=stages)


def _seconds(network: Architecture, device: Document) -> float:
    macs: float = summary(network)["macs"] * device["batch"]
    return macs / OPERATIONS[device["name"]] + 1e-3


def _used(network: Architecture | None, device: Document) -> dict[str, float]:
    if network is None:
        return {}
    figures = summary(network)
    return {key: figures[key] for key in ("macs", "params", "rho")} | {"latency_seconds": _seconds(network, device)}


def _use(limit: float, used: float | None) -> Document:
    return {"limit": limit, "used": used, "share": None if used is None else used / limit}


def _round(limit: float, latency: float, truth: float) -> Document:
    timing = {"predicted": latency, "measured": truth, "low": 0.996 * truth, "high": 1.004 * truth}
    known = {"objective": 30000.0, "violated": truth > limit, "architecture": None}
    return {"number": 1, "limit": limit} | timing | known


def _figures(network: Architecture | None, device: Document, truth: float, target: float) -> Document:
    """Return what an entry tells of its network, `truth` being its true latency; all of it None without one."""
    counted = ("macs", "params", "backbone_macs", "backbone_params", "activation_bytes", "entropy", "scale_entropies",
               "rho", "depth_variance")  # fmt: skip
    if network is None:
        others = ("objective", "bound", "gap", "predicted", "predicted_by_device", "measured", "stem", "stages", "tail",
                  "classifier", "overhead_seconds")  # fmt: skip
        return dict.fromkeys((*counted, *others))
    figures, latency = summary(network), _seconds(network, device)
    per_mac = (latency - 1e-3) / figures["macs"]
    stages = [stage | {"latency_seconds": stage["macs"] * per_mac} for stage in figures["stages"]]
    rest = latency - sum(stage["latency_seconds"] for stage in stages)
    return {key: figures[key] for key in counted} | {
        "objective": figures["entropy"],
        "bound": 1.008 * figures["entropy"],
        "gap": 0.008,
        "predicted": _timing(latency, device["batch"], 0.05 if device["interval"] else None),
        "predicted_by_device": {device["name"]: {"latency_seconds": latency, "throughput": device["batch"] / latency}},
        "measured": _measured(truth, target, device) if device["measured"] else None,
        "stem": figures["stem"] | {"side": 112, "latency_seconds": 0.6 * rest} | _counts(network, "stem"),
        "stages": stages,
        "tail": None,
        "classifier": {"latency_seconds": 0.3 * rest} | _counts(network, "classifier"),
        "overhead_seconds": 0.1 * rest,
    }


def _counts(network: Architecture, part: str) -> Document:
    parts = [one for one in network.parts() if one.name == part]
    return {"macs": total_macs(parts), "params": total_params(parts)}


def _timing(latency: float, batch: int, width: float | None) -> Document:
    ends = (None, None) if width is None else ((1 - width) * latency, (1 + width) * latency)
    return {"latency_seconds": latency, "low": ends[0], "high": ends[1], "throughput": batch / latency}


def _measured(latency: float, target: float, device: Document) -> Document:
    conditions = {key: device[key] for key in ("device", "backend", "version", "precision", "batch", "threads")}
    timing = _timing(latency, device["batch"], 0.004)
    return timing | conditions | {"violated": latency > target, "date": "2026-11-23T08:10:00+00:00"}


def _files(network: Architecture | None) -> Document:
    kinds = {"architecture": "network.json", "solution": "network.solution.json", "onnx": "network.onnx"}
    return {kind: None if network is None else file for kind, file in kinds.items()} | dict.fromkeys(
        ("model", "weights", "card")
    )


def _baseline(device: Document) -> Document:
    network = network_of(60)
    figures, latency = summary(network), _seconds(network, device)
    return {
        "space": "r18", "device": device["name"], "throughput": device["batch"] / latency, "source": "measured",
        "latency_seconds": latency, "objective": figures["entropy"], "bound": 1.01 * figures["entropy"], "gap": 0.01,
        "macs": figures["macs"], "params": figures["params"], "message": "the network is proven to be within 1%",
        "architecture": network.to_dict(),
    }  # fmt: skip


def _references(device: Document) -> list[Document]:
    """Return one reference with an objective, one without, and one that could not be had."""
    common = {"device": device["name"], "low": None, "high": None}
    latency = _seconds(published("r18"), device)
    known = {"objective": 60000.0, "macs": 1811574016, "params": 11826088, "source": "predicted", "note": None}
    timed = {"objective": None, "macs": 1814073344, "params": 11689512, "source": "measured", "note": "timed beside"}
    return [
        common | known | {"name": "deepmad-r18 (published)", "latency_seconds": latency, "throughput": 1 / latency},
        common | timed | {"name": "timm:resnet18", "latency_seconds": 0.9 * latency, "throughput": 1.1 / latency},
        common | timed | {"name": "timm:gone", "latency_seconds": None, "throughput": None, "note": "timm is missing"},
    ]


def networks_of(zoo: Document) -> list[Document]:
    """Return the entries that have a network."""
    return [entry for entry in zoo["entries"] if entry["stages"]]


def hostile_everywhere(zoo: Document) -> None:
    """Put markup into every text of a zoo that a user can choose."""
    zoo["title"] = HOSTILE
    zoo["spec"]["title"] = HOSTILE
    for number, entry in enumerate(zoo["entries"]):
        entry["name"] = f"{HOSTILE}{number}"
        entry["message"] = HOSTILE
        entry["files"]["onnx"] = entry["files"]["onnx"] and HOSTILE
        entry["limits"][HOSTILE] = {"limit": 1.0, "used": 0.5, "share": 0.5}
        for stage in entry["stages"] or []:
            stage["block"] = HOSTILE
    for reference in zoo["references"]:
        reference |= {"name": HOSTILE, "note": HOSTILE}
    zoo["devices"][0] |= {"device": HOSTILE, "version": HOSTILE}
