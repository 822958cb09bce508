"""The measured loop meets the target on a device that its table predicts wrongly."""

import pytest

from deepmad.engine.budgets import Budget
from deepmad.engine.latency import latency_nanoseconds
from deepmad.engine.loop import MEASUREMENTS, Round, design_measured
from deepmad.engine.problems import Problem
from deepmad.engine.progress import Progress
from deepmad.engine.solutions import Measured, Status
from deepmad.engine.solvers import CpSat, Interrupted, design
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from tests.catalogue import StairTable, small_space

SOLVER = CpSat(workers=1, deterministic_limit=4.0, gap=0.0)
TABLE = StairTable()


class Device:
    """A device whose true latency is a factor off its table, and which scatters from time to time."""

    def __init__(self, factor: float, scatter: tuple[float, ...] = (1.0,)) -> None:
        self.factor, self.scatter, self.measured = factor, scatter, 0

    def seconds(self, network: Architecture) -> float:
        return self.factor * float(latency_nanoseconds(network.parts(), TABLE)) / 1e9

    def __call__(self, network: Architecture) -> Measured:
        seconds = self.seconds(network) * self.scatter[self.measured % len(self.scatter)]
        self.measured += 1
        return Measured(seconds, seconds, seconds, 1 / seconds, None, "toy", "toy", "1", "fp32", 1, 1, "2026-01-01")


def problem(share: float) -> Problem:
    """Return the small space's problem under a share of the unlimited design's predicted latency."""
    free = Problem(small_space(), Budget.of(small_space()), TABLE)
    solution = design(free, SOLVER)
    assert solution.predicted is not None
    return Problem(
        small_space(), Budget(**(vars(free.budget) | {"latency": share * solution.predicted.latency_seconds})), TABLE
    )


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_the_true_latency_meets_the_target(factor: float) -> None:
    target, device, rounds = problem(0.6), Device(factor), list[Round]()
    solution = design_measured(target, SOLVER, device, on_round=rounds.append)
    limit = target.budget.latency
    assert limit is not None
    assert solution.architecture is not None
    assert solution.measured is not None
    assert not solution.measured.violated
    assert device.seconds(solution.architecture) <= limit
    assert [one.number for one in rounds] == list(range(1, len(rounds) + 1))
    if factor > 1:  # an optimistic table needs a second round, and a tight hit cannot be far
        assert len(rounds) > 1
    assert solution.measured.latency_seconds >= 0.85 * limit


def test_a_lucky_measurement_is_not_delivered() -> None:
    """One of three times is 10 % too fast, on a device 5 % slower than its table: the middle one decides."""
    target, device = problem(0.6), Device(1.05, scatter=(0.9, 1.0, 1.0))
    solution = design_measured(target, SOLVER, device)
    assert solution.architecture is not None
    assert target.budget.latency is not None
    assert device.seconds(solution.architecture) <= target.budget.latency


def test_a_burst_of_other_work_is_not_corrected_for() -> None:
    """One of three times is twice too slow on a device that is as its table says: one round is enough."""
    rounds: list[Round] = []
    design_measured(problem(0.6), SOLVER, Device(0.98, scatter=(1.0, 2.0, 1.0)), on_round=rounds.append)
    assert len(rounds) == 1


def test_a_missed_target_is_told() -> None:
    """A device on which nothing meets the target ends as a violation or as infeasible, never as met."""
    solution = design_measured(problem(0.6), SOLVER, Device(50.0), rounds=2)
    assert solution.measured is not None
    assert solution.measured.violated
    assert "misses" in solution.message


def test_an_impossible_target_is_infeasible_without_measuring() -> None:
    device = Device(1.0)
    solution = design_measured(problem(1e-6), SOLVER, device)
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("latency_seconds",)
    assert device.measured == 0


def test_no_target_is_an_error() -> None:
    with pytest.raises(InputError, match="--throughput"):
        design_measured(Problem(small_space(), Budget.of(small_space()), TABLE), SOLVER, Device(1.0))


class Interrupting(Device):
    """A device that is interrupted at one of its measurements."""

    def __init__(self, factor: float, at: int) -> None:
        super().__init__(factor)
        self.at = at

    def __call__(self, network: Architecture) -> Measured:
        if self.measured == self.at:
            raise KeyboardInterrupt
        return super().__call__(network)


@pytest.mark.parametrize("at", [0, MEASUREMENTS - 1])
def test_an_interrupt_in_the_first_measurement_delivers_the_designed_network(at: int) -> None:
    asked = problem(0.6)
    with pytest.raises(Interrupted) as interrupt:
        design_measured(asked, SOLVER, Interrupting(1.2, at))
    solution = interrupt.value.solution
    assert solution.architecture is not None
    assert asked.broken(solution.architecture) == []
    assert solution.measured is None


def test_an_interrupt_in_a_later_measurement_delivers_the_measured_network() -> None:
    rounds: list[Round] = []
    with pytest.raises(Interrupted) as interrupt:
        design_measured(problem(0.6), SOLVER, Interrupting(1.2, MEASUREMENTS), on_round=rounds.append)
    assert [interrupt.value.solution] == [one.solution for one in rounds]
    assert interrupt.value.solution.measured is not None


def test_an_interrupt_in_a_later_design_delivers_the_measured_network() -> None:
    rounds: list[Round] = []

    def report(_progress: Progress) -> None:
        if rounds:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupt:
        design_measured(problem(0.6), SOLVER, Device(1.2), report=report, on_round=rounds.append)
    assert [interrupt.value.solution] == [one.solution for one in rounds]
    assert interrupt.value.solution.measured is not None
