"""The authors' structures and well-known networks, timed in turns."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.conditions import RESULTS, write_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock
from benchmarks.gpu_results.steps import Step
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.measurements import Measurement, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_params

PUBLISHED = RESULTS.parent / "tests/golden/published.json"


def compare(options: Options, step: Step, _clock: Clock) -> None:
    """Time all networks in turns; one that cannot be loaded or run is noted with its reason."""
    assert step.key is not None
    requests: dict[str, Request] = {}
    reasons: dict[str, str] = {}
    for name in options.models:
        try:
            requests[name] = Request(_model(name), **vars(step.key), resolution=_side(options, name)).loaded()
        except InputError as error:
            reasons[name] = str(error)
    timer = Timer(seconds=options.seconds, max_warmup_seconds=1.0)
    found, failed = _measured(requests, timer)
    reasons |= failed
    in_turns = not failed
    rows = []
    for name in options.models:
        row: dict[str, Any] = {"network": name, "works": name in found, "reason": reasons.get(name, "")}
        if name in found:
            row |= {"params": _params(requests[name]), "in_turns": in_turns, **_columns(found[name])}
        rows.append(row)
    write_csv(options.output / f"{step.name}.csv", rows)


def _model(name: str) -> Architecture | str:
    """Return a published structure, or the name of another source."""
    library, _, rest = name.partition(":")
    if library != "published":
        return name
    held = json.loads(Path(PUBLISHED).read_text(encoding="utf-8"))
    if rest not in held:
        raise InputError(f"{name}: no such published structure; choose from {', '.join(held)}")
    return Architecture.from_dict(held[rest]["architecture"])


def _side(options: Options, name: str) -> int | None:
    """Return the input's side in pixels where it is asked for; structures know their own."""
    return None if name.startswith("published:") else options.resolution


def _measured(requests: dict[str, Request], timer: Timer) -> tuple[dict[str, Measurement], dict[str, str]]:
    """Return the measurements, and the reasons of those that fail: then each is timed for itself."""
    try:
        return dict(zip(requests, measure_all(list(requests.values()), timer=timer), strict=True)), {}
    except (InputError, DeviceError):
        found, failed = {}, {}
    for name, request in requests.items():
        try:
            (found[name],) = measure_all([request], timer=timer)
        except (InputError, DeviceError) as error:
            failed[name] = str(error)
    return found, failed


def _params(request: Request) -> int:
    if isinstance(request.model, Architecture):
        return int(total_params(request.model.parts()))
    parameters: Any = getattr(request.model, "parameters", list)
    return sum(parameter.numel() for parameter in parameters())


def _columns(found: Measurement) -> dict[str, Any]:
    """Return a measurement's figures and conditions."""
    clocks = [state.sm_megahertz for state in found.gpu.states if state.sm_megahertz] if found.gpu else []
    return {
        "latency_seconds": found.seconds,
        "low": found.low,
        "high": found.high,
        "throughput": found.throughput,
        **asdict(found.conditions),
        "lowest_sm_megahertz": min(clocks, default=None),
        "highest_sm_megahertz": max(clocks, default=None),
        "watts": found.gpu.watts if found.gpu else None,
        "warnings": "; ".join(found.warnings),
    }
