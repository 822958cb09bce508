"""zoo.csv: a row an entry that has a network, in the columns of timm's benchmarks, then some of this project's."""

from collections.abc import Sequence
from typing import Any

from deepmad.profilers.importing.timm_files import RESULT_COLUMNS
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces import csv_files
from deepmad.search_spaces.architectures import Architecture

OWN_COLUMNS = (
    "latency_source", "space", "device", "backend", "precision", "threads", "target_seconds", "outcome",
    "predicted_seconds", "measured_seconds", "low_seconds", "high_seconds", "date", "objective", "bound", "gap",
    "entropy", "rho",
)  # fmt: skip
"""`latency_source` says whether timm's columns hold what was measured or, where nothing was, what was predicted."""


def csv_text(entries: Sequence[tuple[dict[str, Any], Architecture]]) -> str:
    """Return the CSV of entries, each by its document in zoo.json and its network."""
    return csv_files.csv_text((*RESULT_COLUMNS, *OWN_COLUMNS), (_row(record, network) for record, network in entries))


def _row(record: dict[str, Any], network: Architecture) -> dict[str, Any]:
    speed = record[record["judged_by"]]
    measured = record["measured"] or {}
    values = {
        "model": record["name"],
        "infer_img_size": record["resolution"],
        "infer_samples_per_sec": speed["throughput"],
        "infer_step_time": 1e3 * speed["latency_seconds"],
        "infer_batch_size": record["batch"],
        "param_count": record["params"] / 1e6,
        "infer_gmacs": record["macs"] / 1e9,
        "infer_macts": NetworkLayers.of(network).activations / 1e6,
        "latency_source": record["judged_by"],
        "target_seconds": record["target"]["latency_seconds"],
        "predicted_seconds": record["predicted"]["latency_seconds"],
        "measured_seconds": measured.get("latency_seconds"),
        "low_seconds": measured.get("low"),
        "high_seconds": measured.get("high"),
        "date": measured.get("date"),
    }
    kept = ("space", "device", "backend", "precision", "threads", "outcome", "objective", "bound", "gap", "entropy")
    values |= {name: record[name] for name in (*kept, "rho")}
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
