"""The machine: its conditions in words, and which back ends really run a network on it."""

import shutil
import subprocess
from dataclasses import replace
from time import perf_counter

from benchmarks.conditions import conditions, write_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.running import caller
from benchmarks.gpu_results.state import Clock, Parts
from benchmarks.gpu_results.steps import Step
from deepmad.cli.doctor import examine
from deepmad.profilers.backends import find_backend
from deepmad.profilers.backends.telemetry import Gpu, visible_gpu_name
from deepmad.profilers.building.building import PROBE_TIMER
from deepmad.profilers.building.probes import draw_probes
from deepmad.profilers.measuring.isolation import Broken
from deepmad.profilers.measuring.measurements import measure
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.files import write_text
from deepmad.search_spaces.spaces import load_space

TRIAL_SECONDS = 150.0
"""A back end that has not run two networks after this time is not used."""
TRIAL_TIMER = Timer(seconds=0.1, max_warmup_seconds=0.5)


def write_conditions(options: Options, step: Step, _clock: Clock) -> None:
    """Write who measured what with which libraries, as the driver and `deepmad doctor` tell.

    The file is written after every section: a library of a later one may crash when it is imported.
    """
    parts: list[str] = []
    for section in (_command, _gpu, _nvidia_smi, _torch_versions, _doctor):
        parts.append(section().strip())
        write_text(options.output / f"{step.name}.txt", "\n\n".join(filter(None, parts)) + "\n")


def _command() -> str:
    return "\n".join(f"{name}: {value}" for name, value in conditions().items())


def _gpu() -> str:
    """Return the GPU's name, driver and state before anything runs, nothing where there is none."""
    if visible_gpu_name() is None:
        return ""
    with Gpu() as gpu:
        return f"GPU: {gpu.name}, driver {gpu.driver}\nidle: {gpu.state()}"


def _nvidia_smi() -> str:
    """Return the driver's own report, nothing where there is no driver."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return ""
    command = [smi, "-q", "-d", "CLOCK,POWER,TEMPERATURE,PERFORMANCE,COMPUTE,ECC"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def _torch_versions() -> str:
    """Return PyTorch's version and those of the CUDA and cuDNN that it brings."""
    import torch

    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


def _doctor() -> str:
    """Return the states of the libraries and of the back ends, a line each."""
    report = examine()
    return "\n".join(
        f"{row['name']} {row['version'] or '-'}: {row['state']}" for row in [*report["libraries"], *report["backends"]]
    )


def try_backends(options: Options, step: Step, clock: Clock) -> None:
    """Let every back end run two networks in a process of its own, and note the reason where one fails."""
    parts = Parts(options.output, step.name)
    for backend in options.backends[len(parts.rows) :]:
        found = caller(options)(_trial, options, backend, limit_seconds=TRIAL_SECONDS)
        result = {"works": False, "reason": found.reason} if isinstance(found, Broken) else found
        parts.add({"backend": backend, "precision": options.precision, "batch": options.batches[0], **result})
        clock.tick()
    write_csv(options.output / f"{step.name}.csv", parts.rows)


def _trial(options: Options, backend: str) -> dict[str, object]:
    """Return how a back end runs a short and a whole network, and what one whole probe of a table costs."""
    library = find_backend(backend, options.precision)
    probes = draw_probes(load_space(options.space), seed=0, networks=3, short=1)
    how = {"backend": backend, "precision": options.precision, "batch": options.batches[0]}
    small = measure(probes.short[0], timer=TRIAL_TIMER, **how)  # type: ignore[arg-type]
    began = perf_counter()
    whole = measure(probes.anchor, timer=replace(PROBE_TIMER, seconds=options.seconds), **how)  # type: ignore[arg-type]
    return {
        "works": True,
        "reason": "",
        "device": library.device(),
        "version": library.version(),
        "small_network_seconds": small.seconds,
        "network_seconds": whole.seconds,
        "seconds_per_probe": perf_counter() - began,
        "warnings": "; ".join(whole.warnings),
    }
