"""What an NVIDIA GPU was doing during a measurement, read by NVML; no setting of it is ever changed."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from threading import Event, Thread
from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
INTERVAL_SECONDS = 0.1
"""Between two samples during a measurement."""
CLOCK_DROP = 0.05
"""A drop of the SM clock by more than this share spoils a number."""
HOT_CELSIUS = 80
_SLOWDOWNS = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "sync boost",
    "SwThermalSlowdown": "thermal slowdown by software",
    "HwThermalSlowdown": "thermal slowdown by hardware",
    "HwPowerBrakeSlowdown": "power brake",
}


@dataclass(frozen=True)
class GpuState:
    """One sample; None where the GPU does not tell. `clock_seconds` counts from an arbitrary start.

    `joules` is what the GPU has used since its driver was loaded, `slowdowns` are the reasons for which it
    throttles, `other_processes` are those beside this one that compute on it.
    """

    clock_seconds: float
    sm_megahertz: int | None
    memory_megahertz: int | None
    watts: float | None
    joules: float | None
    celsius: int | None
    slowdowns: tuple[str, ...]
    used_bytes: int | None
    other_processes: int | None


@dataclass(frozen=True)
class GpuTelemetry:
    """A GPU's samples before, during and after a measurement of `networks` networks, in order."""

    name: str
    driver: str
    networks: int
    states: tuple[GpuState, ...]

    @property
    def watts(self) -> float | None:
        """Mean power: from the energy counter where the GPU has one, else the mean of the samples."""
        first, last = self.states[0], self.states[-1]
        if first.joules is not None and last.joules is not None and last.joules > first.joules:
            return (last.joules - first.joules) / (last.clock_seconds - first.clock_seconds)
        sampled = [state.watts for state in self._during() if state.watts is not None]
        return math.fsum(sampled) / len(sampled) if sampled else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils a number taken meanwhile, a sentence each."""
        return tuple(self._doubts())

    def joules_per_image(self, seconds: float, batch: int) -> float | None:
        """Return the energy of one image at `seconds` for a batch; None where several networks took turns."""
        return None if self.watts is None or self.networks != 1 else self.watts * seconds / batch

    @property
    def memory_bytes(self) -> int | None:
        """The most memory in use on the GPU, whoever used it; None where several networks were on it."""
        used = [state.used_bytes for state in self.states if state.used_bytes is not None]
        return max(used) if used and self.networks == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return asdict(self) | {"watts": self.watts}

    def summary(self) -> dict[str, Any]:
        """Return in short, as a JSON document, what the GPU did: ranges over the samples under load, and warnings."""
        during = self._during()
        ranges = {}
        for name in ("sm_megahertz", "memory_megahertz", "celsius"):
            known = [value for state in during if (value := getattr(state, name)) is not None]
            ranges[name] = [min(known), max(known)] if known else None
        shared = {"name": self.name, "driver": self.driver, "networks": self.networks, "samples": len(self.states)}
        return shared | ranges | {"watts": self.watts, "warnings": list(self.warnings)}

    def _during(self) -> tuple[GpuState, ...]:
        """Return the samples under load; of a short measurement the last, when the GPU is hardly idle yet."""
        return self.states[1:-1] or self.states[-1:]

    def _doubts(self) -> Iterator[str]:
        clocks = [state.sm_megahertz for state in self._during() if state.sm_megahertz is not None]
        drops = [(peak, clock) for peak, clock in zip(accumulate(clocks, max), clocks, strict=True) if clock < peak]
        peak, clock = min(drops, key=lambda drop: drop[1] / drop[0], default=(1, 1))
        if clock < (1 - CLOCK_DROP) * peak:
            yield f"the GPU's clock fell from {peak} to {clock} MHz; let it cool or lock its clocks"
        slowdowns = sorted({reason for state in self._during() for reason in state.slowdowns})
        if slowdowns:
            yield f"the GPU throttled ({', '.join(slowdowns)}); let it cool or lower its clocks"
        others = max((state.other_processes or 0 for state in self.states), default=0)
        if others:
            yield f"{others} other process(es) computed on the GPU; free it"
        hottest = max((state.celsius for state in self.states if state.celsius is not None), default=None)
        if hottest is not None and hottest >= HOT_CELSIUS:
            yield f"the GPU reached {hottest} °C, {HOT_CELSIUS} or more; let it cool"


class Gpu:
    """The first GPU that is visible to CUDA, asked through NVML inside a `with` block.

    Entering raises `NVMLError` of pynvml where there is no driver or no such GPU. CUDA_VISIBLE_DEVICES is
    heeded (an index in the order of the PCI bus, or a UUID).
    """

    def __enter__(self) -> "Gpu":
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        try:
            first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
            if first.isdecimal():
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(int(first))
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(first)
        except BaseException:
            pynvml.nvmlShutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nvml.nvmlShutdown()

    @property
    def name(self) -> str:
        """The product's name."""
        return str(self._nvml.nvmlDeviceGetName(self._handle))

    @property
    def uuid(self) -> str:
        """What tells it from all other GPUs."""
        return str(self._nvml.nvmlDeviceGetUUID(self._handle))

    @property
    def driver(self) -> str:
        """The driver's version."""
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def state(self) -> GpuState:
        """Return a sample taken now."""
        nvml, handle, ask = self._nvml, self._handle, self._ask
        energy = ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))  # millijoules
        power = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))  # milliwatts
        return GpuState(
            clock_seconds=perf_counter(),
            sm_megahertz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_megahertz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            watts=None if power is None else power / 1e3,
            joules=None if energy is None else energy / 1e3,
            celsius=ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            slowdowns=self._slowdowns(),
            used_bytes=ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
            other_processes=self._other_processes(),
        )

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return the answer, None where this GPU or driver has none; an older driver lacks whole functions."""
        try:
            return question()
        except (self._nvml.NVMLError, self._nvml.NVMLLibraryMismatchError):
            return None

    def _slowdowns(self) -> tuple[str, ...]:
        bits = self._ask(lambda: self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)) or 0
        return tuple(
            text for name, text in _SLOWDOWNS.items() if bits & getattr(self._nvml, f"nvmlClocksThrottleReason{name}")
        )

    def _other_processes(self) -> int | None:
        processes = self._ask(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        if processes is None:
            return None
        pids = {process.pid for process in processes}
        # In a container NVML tells the host's process numbers: ours is then one of them under another number.
        return len(pids - {os.getpid()}) if os.getpid() in pids else max(0, len(pids) - 1)


class GpuWatch:
    """Samples a GPU before, during and after what is done inside its `with` block.

    Where NVML is not there, nothing is sampled and `telemetry` is None.
    """

    def __init__(self, networks: int, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._networks, self._interval_seconds = networks, interval_seconds
        self._states: list[GpuState] = []
        self._stop = Event()
        self.telemetry: GpuTelemetry | None = None

    def __enter__(self) -> "GpuWatch":
        if visible_gpu_name() is None:
            return self
        self._gpu = Gpu().__enter__()
        self._name, self._driver = self._gpu.name, self._gpu.driver  # now: a GPU that is lost tells nothing any more
        self._states.append(self._gpu.state())
        self._thread = Thread(target=self._sample, name="gpu-telemetry", daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self._states.append(self._gpu.state())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._states:
            return
        self._stop.set()
        self._thread.join()
        self._states.append(self._gpu.state())
        self.telemetry = GpuTelemetry(self._name, self._driver, self._networks, tuple(self._states))
        self._gpu.__exit__(kind, error, trace)


def visible_gpu_name() -> str | None:
    """Return the name of the first GPU that CUDA would use, None where NVML sees none or is not there."""
    return _of_visible_gpu(lambda gpu: gpu.name)


def visible_gpu_uuid() -> str | None:
    """Return what tells the first GPU that CUDA would use from all others, None where NVML sees none."""
    return _of_visible_gpu(lambda gpu: gpu.uuid)


def visible_gpu_doubts() -> tuple[str, ...]:
    """Return what would spoil a number taken now on the first GPU that CUDA would use, a sentence each."""
    found = _of_visible_gpu(lambda gpu: GpuTelemetry(gpu.name, gpu.driver, 1, (gpu.state(),)))
    return () if found is None else found.warnings


def _of_visible_gpu(ask: Callable[[Gpu], T]) -> T | None:
    try:
        import pynvml
    except ImportError:  # `deepmad doctor` tells
        return None
    try:
        with Gpu() as gpu:
            return ask(gpu)
    except pynvml.NVMLError:
        return None
