"""The measured loop meets the target on a device that its table predicts wrongly."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from deepmad.cli.delivery import Wishes, deliver
from deepmad.cli.output import MISSED
from deepmad.cli.schema import schema_of
from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.repeated import MEASUREMENTS
from deepmad.engine.answers.solutions import Measured, Solution, Status
from deepmad.engine.design import design
from deepmad.engine.measured_loop import borne_out, design_measured, in_the_end
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.latency import latency_nanoseconds
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from tests.brute_force import count
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


def least_predicted() -> float:
    """Return the least predicted latency of the small space, by brute force."""
    asked = Problem(small_space(), Budget.of(small_space()), TABLE)
    counted = count(replace(asked, budget=replace(asked.budget, latency=1.0)))
    return float(counted.used["latency_seconds"][counted.feasible(asked)].min())


def within(seconds: float) -> Problem:
    """Return the small space's problem under a latency limit."""
    return Problem(small_space(), replace(Budget.of(small_space()), latency=seconds), TABLE)


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


def test_no_network_is_designed_again_where_none_is_nearer_to_the_target() -> None:
    """On a device that is faster than its table the second network leaves 7 % of the limit; the next is too slow."""
    rounds: list[Round] = []
    solution = design_measured(problem(0.7), SOLVER, Device(0.8), on_round=rounds.append)
    assert [one.number for one in rounds] == [1, 2]
    assert solution.architecture == rounds[1].architecture != rounds[0].architecture
    assert solution.measured is not None
    assert not solution.measured.violated


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


def test_a_network_that_later_times_do_not_bear_out_goes_through_the_loop_again() -> None:
    """The device is 15 % slower than when the loop measured; the loop goes on from the slower time."""
    target, slower = problem(0.6), Device(1.1 * 1.15)
    first = design_measured(target, SOLVER, Device(1.1))
    assert borne_out(in_the_end(first, [slower(network_of(first))] * 3)) is False
    assert borne_out(in_the_end(first, [Device(1.1)(network_of(first))] * 3))
    checked = in_the_end(first, [slower(network_of(first))] * 3)
    assert checked.measured is not None
    assert checked.measured.violated
    rounds: list[Round] = []
    solution = design_measured(target, SOLVER, slower, first=checked, on_round=rounds.append)
    assert first.rounds is not None
    assert rounds[0].limit == first.rounds[-1].limit != target.budget.latency
    assert rounds[0].architecture == first.architecture
    assert solution.measured is not None
    assert not solution.measured.violated


def network_of(solution: Solution) -> Architecture:
    assert solution.architecture is not None
    return solution.architecture


@pytest.mark.parametrize(("scatter", "count"), [((1.0, 1.01, 1.02), 3), ((1.0, 1.3, 1.01, 1.02, 0.99), 5)])
def test_times_that_disagree_are_taken_again(scatter: tuple[float, ...], count: int) -> None:
    device = Device(0.97, scatter)
    solution = design_measured(problem(0.6), SOLVER, device)
    assert solution.measured is not None
    assert solution.rounds is not None
    assert device.measured == count * len(solution.rounds) + MEASUREMENTS + 1  # the last one is confirmed


def test_a_target_that_the_fastest_network_misses_is_infeasible() -> None:
    """Fifty times slower than its table: the second round finds nothing, and measures the least there is."""
    asked, rounds = problem(0.6), list[Round]()
    solution = design_measured(asked, SOLVER, Device(50.0), on_round=rounds.append)
    least = least_predicted()
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("latency_seconds",)
    assert solution.architecture is None
    assert solution.rounds == tuple(rounds)
    assert len(rounds) == 2
    assert rounds[1].predicted == pytest.approx(least, rel=1e-9)
    assert rounds[1].limit < least
    assert rounds[1].violated
    assert rounds[1].architecture is not None
    assert solution.nearest == {"latency_seconds": rounds[1].measured}
    assert rounds[1].measured == pytest.approx(50 * least, rel=1e-9)
    assert "proven so" in solution.message
    assert "times 50 as measured here" in solution.message
    assert asked.budget.latency == solution.limits["latency_seconds"].limit


def test_the_command_tells_a_target_that_is_impossible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "solution.json"
    asked = within(0.5 * least_predicted())
    assert deliver(asked, SOLVER, Wishes(Device(1.2)), output=path, json=True) == MISSED
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document == json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema_of("solution"))
    (only,) = document["rounds"]
    assert document["nearest"] == {"latency_seconds": only["measured"]}
    assert document["architecture"] is None
    assert only["architecture"]["stages"]
    assert "round 1: " in captured.err
    assert "target missed" in captured.err
    assert "error: no network of space small meets" in captured.err


def test_a_target_below_every_prediction_is_measured_before_it_is_given_up() -> None:
    """The table promises nothing below the target; on the device the fastest network misses it too, or meets it."""
    least = least_predicted()
    missed = design_measured(within(0.9 * least), SOLVER, Device(1.0))
    assert missed.status is Status.INFEASIBLE
    assert missed.nearest is not None
    assert missed.nearest["latency_seconds"] == pytest.approx(least, rel=1e-9)
    assert missed.rounds is not None
    assert len(missed.rounds) == 1
    met = design_measured(within(0.9 * least), SOLVER, Device(0.88))
    assert met.architecture is not None
    assert met.measured is not None
    assert not met.measured.violated
    assert met.measured.latency_seconds == pytest.approx(0.88 * least, rel=1e-9)
    assert met.limits["latency_seconds"].limit == 0.9 * least


def test_a_table_that_is_too_pessimistic_is_corrected_from_the_fastest_network_on() -> None:
    """The device is twice as fast as its table: below the least prediction there is more than the fastest network."""
    least, rounds = least_predicted(), list[Round]()
    target, device = 0.8 * least, Device(0.5)
    solution = design_measured(within(target), SOLVER, device, on_round=rounds.append)
    assert len(rounds) > 1
    assert solution.objective is not None
    assert rounds[0].objective is not None
    assert solution.objective > rounds[0].objective
    assert solution.architecture is not None
    assert device.seconds(solution.architecture) <= target


def test_what_met_the_target_is_delivered_where_a_later_round_finds_nothing() -> None:
    """Improving on a network just below the target asks for less than there is: it is delivered, and nothing proven."""
    solution = design_measured(within(1.005 * least_predicted()), SOLVER, Device(1.0), rounds=3)
    assert solution.architecture is not None
    assert solution.measured is not None
    assert not solution.measured.violated
    assert solution.rounds is not None
    assert solution.rounds[-1].measured is None


def test_rounds_that_do_not_suffice_are_told() -> None:
    solution = design_measured(problem(0.6), SOLVER, Device(1.5), rounds=1)
    assert solution.measured is not None
    assert solution.measured.violated
    assert "misses" in solution.message
    assert "in 1 round(s)" in solution.message


def test_the_bound_of_a_later_round_is_told_with_its_limit(tmp_path: Path) -> None:
    solution = design_measured(problem(0.6), SOLVER, Device(1.2))
    assert "among those predicted within" in solution.message
    path = tmp_path / "solution.json"
    solution.save(path)
    assert Solution.load(path) == solution
    document = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema_of("solution"))
    assert [one["number"] for one in document["rounds"]] == [1, 2]
    assert document["rounds"][1]["measured"] == document["measured"]["latency_seconds"]
    assert document["rounds"][1]["architecture"] == document["architecture"]
    assert document["rounds"][0]["violated"]


def test_limits_that_clash_without_the_latency_are_not_measured() -> None:
    device = Device(1.0)
    asked = problem(0.6)
    solution = design_measured(replace(asked, budget=replace(asked.budget, macs=1000.0)), SOLVER, device)
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("macs",)
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
    assert interrupt.value.solution.rounds == tuple(rounds)
    assert interrupt.value.solution.architecture == rounds[0].architecture
    assert interrupt.value.solution.measured is not None


def test_an_interrupt_in_a_later_design_delivers_the_measured_network() -> None:
    rounds: list[Round] = []

    def report(_progress: Progress) -> None:
        if rounds:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupt:
        design_measured(problem(0.6), SOLVER, Device(1.2), report=report, on_round=rounds.append)
    assert interrupt.value.solution.rounds == tuple(rounds)
    assert interrupt.value.solution.architecture == rounds[0].architecture
    assert interrupt.value.solution.measured is not None
