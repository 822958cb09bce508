"""Telemetry, against a stand-in for NVML that answers as an H100 and as a small card that knows little."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmad.profilers.backends import BACKENDS, Backend, Settings
from deepmad.profilers.backends.telemetry import (
    GpuState,
    GpuTelemetry,
    GpuWatch,
    visible_gpu_doubts,
    visible_gpu_name,
    visible_gpu_uuid,
)
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.machine import MachineState, core_megahertz
from deepmad.profilers.measuring.measurements import Conditions, Measurement, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from tests.catalogue import one_block


class NVMLError(Exception):
    """What NVML raises for anything that it cannot do."""


class NVMLLibraryMismatchError(Exception):
    """What pynvml raises where the driver is older than a function; it is no `NVMLError`."""


@dataclass
class FakeNvml:
    """The functions of `pynvml` that are used; every sample of a changing value is the next of its list."""

    sm_megahertz: list[int] = field(default_factory=lambda: [345, 1980, 1980])
    millijoules: list[int] = field(default_factory=lambda: [1_000_000, 1_100_000, 1_200_000])
    celsius: int = 41
    throttle: int = 0x1
    pids: list[int] = field(default_factory=lambda: [os.getpid()])
    unsupported: frozenset[str] = frozenset()
    refusal: type[Exception] = NVMLError
    initialised: int = 0
    asked: list[str] = field(default_factory=list)

    NVMLError = NVMLError
    NVMLLibraryMismatchError = NVMLLibraryMismatchError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksThrottleReasonSwPowerCap = 0x4  # noqa: N815 - NVML's own names
    nvmlClocksThrottleReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksThrottleReasonSyncBoost = 0x10  # noqa: N815
    nvmlClocksThrottleReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40  # noqa: N815
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815

    def nvmlInit(self) -> None:  # noqa: N802
        self.initialised += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.initialised -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.82.07"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("nvmlDevice"):
            raise AttributeError(name)
        return lambda *arguments: self._answer(name, *arguments)

    def _answer(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        if name in self.unsupported or self.initialised < 1:
            raise self.refusal("Not Supported")
        answers: dict[str, Callable[[], Any]] = {
            "nvmlDeviceGetHandleByIndex": lambda: arguments[0],
            "nvmlDeviceGetHandleByUUID": lambda: arguments[0],
            "nvmlDeviceGetUUID": lambda: "GPU-1",
            "nvmlDeviceGetName": lambda: "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetClockInfo": lambda: 2619 if arguments[1] == 2 else _next(self.sm_megahertz),
            "nvmlDeviceGetPowerUsage": lambda: 412_345,
            "nvmlDeviceGetTotalEnergyConsumption": lambda: _next(self.millijoules),
            "nvmlDeviceGetTemperature": lambda: self.celsius,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda: self.throttle,
            "nvmlDeviceGetMemoryInfo": lambda: SimpleNamespace(used=3 << 30, total=80 << 30),
            "nvmlDeviceGetComputeRunningProcesses": lambda: [SimpleNamespace(pid=pid) for pid in self.pids],
        }
        return answers[name]()


def _next(values: list[int]) -> int:
    """Return the next value; the last one stays."""
    return values.pop(0) if len(values) > 1 else values[0]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield fake
    assert fake.initialised == 0
    assert not [name for name in fake.asked if "Set" in name]


def watched(samples: int = 1) -> GpuTelemetry:
    """Return what a watch finds that ends after so many samples in between."""
    with GpuWatch(1, interval_seconds=0.001) as watch:
        while len(watch._states) < 1 + samples:
            pass
    assert watch.telemetry is not None
    return watch.telemetry


def test_a_quiet_gpu_is_sampled_before_during_and_after(nvml: FakeNvml) -> None:
    found = watched()
    assert (found.name, found.driver) == ("NVIDIA H100 80GB HBM3", "580.82.07")
    before, during, *_, after = found.states
    assert (before.sm_megahertz, during.sm_megahertz, during.memory_megahertz) == (345, 1980, 2619)
    assert (during.watts, during.celsius, during.used_bytes, during.other_processes) == (412.345, 41, 3 << 30, 0)
    assert after.clock_seconds > during.clock_seconds > before.clock_seconds
    assert found.warnings == ()  # an idle clock before is no drop, and idling no throttling
    assert nvml.asked.count("nvmlDeviceGetClockInfo") == 2 * len(found.states)


def test_what_spoils_a_number_is_told(nvml: FakeNvml) -> None:
    nvml.sm_megahertz, nvml.celsius, nvml.throttle = [345, 1980, 1410], 84, 0x4 | 0x40
    nvml.pids = [os.getpid(), 4242, 4243]
    clock, throttled, others, hot = watched(samples=2).warnings
    assert "from 1980 to 1410 MHz" in clock
    assert "power cap, thermal slowdown by hardware" in throttled
    assert "2 other process(es)" in others
    assert "84 °C" in hot


@pytest.mark.parametrize(
    ("megahertz", "told"),
    [
        ([345, 1200, 1980, 1950, 345], False),  # it speeds up from idle and ends idle
        ([345, 1980], False),  # too short for a sample in between
        ([345, 1980, 1870, 1980, 345], True),
    ],
)
def test_only_a_clock_that_falls_under_load_is_a_drop(megahertz: list[int], told: bool) -> None:
    states = tuple(state(index, sm_megahertz=clock) for index, clock in enumerate(megahertz))
    assert bool(GpuTelemetry("gpu", "1", 1, states).warnings) == told


def test_in_a_container_one_unknown_process_is_this_one(nvml: FakeNvml) -> None:
    nvml.pids = [10**7]
    assert watched().states[0].other_processes == 0
    nvml.pids = []
    assert watched().states[0].other_processes == 0


@pytest.mark.parametrize("refusal", [NVMLError, NVMLLibraryMismatchError])
def test_what_a_gpu_does_not_tell_is_none(refusal: type[Exception], nvml: FakeNvml) -> None:
    nvml.refusal = refusal
    nvml.unsupported = frozenset(
        f"nvmlDeviceGet{name}"
        for name in ("ClockInfo", "PowerUsage", "TotalEnergyConsumption", "Temperature", "MemoryInfo",
                     "CurrentClocksThrottleReasons", "ComputeRunningProcesses")
    )  # fmt: skip
    found = watched()
    state = found.states[0]
    assert state == GpuState(state.clock_seconds, None, None, None, None, None, (), None, None)
    assert found.warnings == ()
    assert found.watts is None
    assert found.joules_per_image(0.01, 8) is None


def test_a_gpu_that_is_lost_does_not_hide_what_went_wrong(nvml: FakeNvml) -> None:
    def lost() -> None:
        with GpuWatch(1):
            nvml.unsupported = frozenset({"nvmlDeviceGetName"})
            raise DeviceError("the GPU is lost")

    with pytest.raises(DeviceError, match="the GPU is lost"):
        lost()


def test_the_visible_gpu_is_the_one_asked(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, handle in (("3,1", 3), ("GPU-4a1e", "GPU-4a1e")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with GpuWatch(1) as watch:
            assert watch._gpu._handle == handle
    assert visible_gpu_name() == "NVIDIA H100 80GB HBM3"
    nvml.unsupported = frozenset({"nvmlDeviceGetHandleByUUID"})
    assert visible_gpu_name() is None
    with GpuWatch(1) as watch:
        pass
    assert watch.telemetry is None


@dataclass
class OnFakeGpu(Backend):
    """A back end on the stand-in GPU, whose clock says that every batch takes 5 ms."""

    name: str = "fake:cuda"
    precisions = ("fp16",)
    processor = "cuda"

    def modules(self) -> tuple[str, ...]:
        return ()

    def availability(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def device(self) -> str:
        return visible_gpu_name() or ""

    def prepare(self, model: Any, settings: Settings) -> Any:
        assert settings.batch
        return SimpleNamespace(run=lambda: 0.005, close=lambda: None, model=model)


@pytest.mark.usefixtures("nvml")
def test_a_gpus_own_clock_and_its_telemetry_are_in_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fake:cuda", OnFakeGpu())
    on_gpu = Request(one_block("basic"), "fake:cuda", batch=4, precision="fp16")
    timer = Timer(seconds=0.002, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
    (alone,) = measure_all([on_gpu], timer=timer)
    assert set(alone.times) == {0.005}
    assert alone.conditions.device == "NVIDIA H100 80GB HBM3"
    assert alone.gpu is not None
    assert alone.gpu.watts is not None
    assert alone.joules_per_image == pytest.approx(alone.gpu.watts * 0.005 / 4)
    one, other = measure_all([on_gpu, Request(one_block("basic"))], timer=timer)
    assert one.gpu is not None
    assert one.joules_per_image is None  # the power was that of both in turns
    assert (alone.memory_bytes, one.memory_bytes, other.memory_bytes) == (3 << 30, None, None)
    assert other.gpu is None


def state(seconds: float, **values: Any) -> GpuState:
    return replace(GpuState(seconds, 1980, 2619, 300.0, None, 50, (), 1 << 30, 0), **values)


def test_energy_comes_from_the_counter_or_from_the_power() -> None:
    counted = GpuTelemetry("gpu", "1", 1, (state(10.0, joules=5000.0), state(11.0), state(12.0, joules=5800.0)))
    assert counted.watts == 400.0
    sampled = GpuTelemetry("gpu", "1", 1, (state(0, watts=60.0), state(1), state(2, watts=500.0), state(3, watts=60.0)))
    assert sampled.watts == 400.0
    conditions = Conditions("gpu", "torch:cuda", "1", "fp16", 8, 1, 3, 224, "2026-01-01T00:00:00+00:00")
    quiet = MachineState(0.1, 0, 1)
    found = Measurement((0.01,) * 9, conditions, quiet, quiet, counted)
    assert found.joules_per_image == pytest.approx(400.0 * 0.01 / 8)
    assert found.to_dict()["gpu"]["watts"] == 400.0
    assert found.to_dict()["gpu"]["states"][0]["sm_megahertz"] == 1980
    assert replace(found, gpu=replace(counted, networks=2)).joules_per_image is None
    assert replace(found, gpu=None).joules_per_image is None
    hot = replace(counted, states=(state(0), state(1, celsius=90), state(2)))
    assert "90 °C" in replace(found, gpu=hot).warnings[0]


def test_the_processors_clock_is_the_mean_of_its_cores(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu MHz\t\t: 2400.5\nprocessor\t: 1\ncpu MHz\t\t: 3600.5\n", encoding="utf-8")
    assert core_megahertz(cpuinfo) == 3000.5
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n", encoding="utf-8")
    assert core_megahertz(cpuinfo) is None
    assert core_megahertz(tmp_path / "none") is None


def test_the_gpu_is_told_from_others_and_says_what_spoils_a_number_now(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (visible_gpu_uuid(), visible_gpu_doubts()) == ("GPU-1", ())
    nvml.throttle, nvml.celsius = 0x4, 85
    throttled, hot = visible_gpu_doubts()
    assert "the GPU throttled (power cap)" in throttled
    assert "85 °C" in hot
    nvml.unsupported = frozenset({"nvmlDeviceGetHandleByIndex"})
    assert (visible_gpu_uuid(), visible_gpu_doubts()) == (None, ())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (visible_gpu_uuid(), visible_gpu_doubts()) == (None, ())
