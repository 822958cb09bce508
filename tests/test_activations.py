"""The limit on activations, from above and from below: counted by hand, kept by every solver, told in every file."""

import inspect
import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from deepmad.cli.app import run
from deepmad.cli.design import design as design_command
from deepmad.cli.schema import schema_of
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.answers.summaries import summary
from deepmad.engine.design import design
from deepmad.engine.explanation import loosened
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.limits import only, with_limit
from deepmad.engine.program.measures import ADDITIVE
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.nearest import least_priced, nearest
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.settings import CpSat, Evolution
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import parse_space
from deepmad.search_spaces.units import AtLeast, bound
from tests.brute_force import Counted, count
from tests.catalogue import EXAMPLES, one_block, small_space

SMALL = str(EXAMPLES / "small.yaml")
PATIENCE_SECONDS = 240.0
EXACT = CpSat(workers=1, gap=0.0, deterministic_limit=20.0)


@cache
def counted() -> Counted:
    return count(Problem(small_space(), Budget()))


def small(limit: float | AtLeast, **others: float) -> Problem:
    return Problem(small_space(), Budget(activations=limit, **others))


def quantile(share: float) -> float:
    return float(np.quantile(counted().used["activations"], share, method="lower"))


def test_output_elements_of_the_main_path_are_counted() -> None:
    # stem 16 at side 16; two blocks of 72, 72 and 24; tail 40: gates, pooling and classifier are not on the main path
    assert summary(one_block("mbconv_se"))["activations"] == 16**2 * (16 + 2 * (72 + 72 + 24) + 40)
    # the opening block's first convolution writes at side 16, all after it at 8; its projection is a shortcut
    later = 2 * (16 + 16 + 32)
    assert summary(one_block("bottleneck"))["activations"] == 16**2 * (16 + 16) + 8**2 * (16 + 32 + later + 40)


@pytest.mark.parametrize(("text", "told"), [("3M", 3e6), ("<=3M", 3e6), (" <= 3M", 3e6), (3e6, 3e6)])
def test_a_limit_without_a_sign_is_one_from_above(text: object, told: float) -> None:
    assert bound(text, "activations") == told


@pytest.mark.parametrize("text", [">=6M", " >= 6M ", AtLeast(6e6)])
def test_a_limit_from_below_says_so(text: object) -> None:
    assert bound(text, "activations") == AtLeast(6e6)


@pytest.mark.parametrize("text", [">=", ">6M", "=>6M", ">=6 apples", ">=-1", "<=0"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="activations"):
        bound(text, "activations")


def test_only_sums_of_counts_may_be_limited_from_below() -> None:
    with pytest.raises(
        InputError, match=r"rho: >=0\.3 is a limit from below, as only macs, params, activations may have"
    ):
        Budget(rho=AtLeast(0.3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="activations: -1 is out of range"):
        Budget(activations=AtLeast(-1))


def test_every_sum_has_its_field_and_its_option() -> None:
    names = {measure.name for measure in ADDITIVE}
    assert names <= {field.name for field in fields(Budget)}
    assert names <= set(inspect.signature(design_command).parameters)


@pytest.mark.parametrize("limit", [quantile(0.3), AtLeast(quantile(0.7))])
def test_a_population_knows_what_breaks_the_limit(limit: float | AtLeast) -> None:
    problem = small(limit, macs=15e6)
    evaluator = Evaluator(problem)
    genomes = np.random.default_rng(0).integers(0, evaluator.coding.sizes, (200, len(evaluator.coding.sizes)))
    found = evaluator.evaluate(genomes)
    usages = [problem.usages(network) for network in evaluator.coding.architectures(genomes)]
    assert found.used["activations"].tolist() == [use["activations"].used for use in usages]
    assert (found.excess == 0).tolist() == [all(use.kept for use in usage.values()) for usage in usages]
    assert 0 < (found.excess == 0).sum() < len(genomes)


@pytest.mark.parametrize("limit", [6e4, AtLeast(1.2e5)])  # without it, the best network has 92,672
@pytest.mark.parametrize(
    ("solver", "error"), [(EXACT, 1e-9), (Evolution(generations=40, population=64, islands=1, workers=1), 0.02)]
)
def test_solvers_find_the_best_network_within_it(
    limit: float | AtLeast, solver: CpSat | Evolution, error: float
) -> None:
    problem = small(limit, rho=0.3, macs=6e6)
    solution = design(problem, solver)
    assert solution.architecture is not None
    assert problem.broken(solution.architecture) == []
    best, without = counted().best(problem), counted().best(only(problem, {"rho", "macs"}))
    assert best is not None
    assert without is not None
    assert best < without  # the limit costs something
    assert solution.objective == pytest.approx(best, rel=error)


def test_the_nearest_value_of_a_limit_from_below_is_the_most_that_the_others_leave() -> None:
    problem = small(AtLeast(1e7), rho=0.3, macs=12e6)
    most = float(counted().used["activations"][counted().feasible(only(problem, {"rho", "macs"}))].max())
    solution = design(problem, EXACT)
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("activations",)
    assert solution.nearest is not None
    assert solution.nearest["activations"] == most
    assert "activations >= 10 M; feasible from activations >= " in solution.message
    found = nearest(problem, "activations", seconds=PATIENCE_SECONDS, workers=1, seed=0)
    assert found is not None
    assert found.proven
    assert found.value == most
    assert with_limit(problem, "activations", found.value).broken(found.network) == []


def test_branch_and_price_proves_the_most_too() -> None:
    problem = small(AtLeast(1.0), macs=4e6)
    most = float(counted().used["activations"][counted().feasible(problem)].max())
    witness = design(problem, EXACT).architecture
    assert witness is not None
    found = least_priced(problem, "activations", witness, ends=np.inf)
    assert found.proven
    assert found.value == pytest.approx(most, rel=2e-6)
    assert problem.usages(witness)["activations"].used < found.value


def test_a_limit_from_below_is_loosened_downwards() -> None:
    assert loosened(small(AtLeast(1e5)), "activations").limits()["activations"].value == pytest.approx(0.9e5)
    assert loosened(small(1e5), "activations").limits()["activations"].value == pytest.approx(1.1e5)


def test_files_tell_the_sense_where_it_is_from_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, limit = tmp_path / "small.json", quantile(0.9)
    asked = ["design", SMALL, "--workers", "1", "--deterministic-limit", "3", "--activations"]
    assert run([*asked, f">={limit}", "--explain", "-o", str(file)]) == 0
    limits = json.loads(file.read_text(encoding="utf-8"))["limits"]
    assert limits["activations"]["sense"] == "at least"
    assert limits["activations"]["used"] >= limits["activations"]["limit"] == limit
    assert "sense" not in limits["macs"]
    capsys.readouterr()
    assert run(["show", str(file)]) == 0
    assert "at most, or >= at least" in capsys.readouterr().out
    solution = Solution.load(file)
    assert solution.limits["activations"].sense == "at least"
    assert solution.explanation is not None
    assert solution.explanation["activations"].share <= 1
    assert json.loads(json.dumps(solution.to_dict()))["limits"] == limits
    assert run(["design", SMALL, "--activations", "none", "--macs", "<=15M", "--json", "--time-limit", "20"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["limits"]["macs"]["used"] <= 15e6


def test_the_schema_tells_the_sense() -> None:
    assert schema_of("solution")["$defs"]["LimitUse"]["properties"]["sense"]["enum"] == ["at most", "at least"]


def test_a_space_brings_its_limit_along() -> None:
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8")
    space = parse_space(text.replace("limits: {", 'limits: {activations: ">=100k", '), "small")
    assert Budget.of(space).activations == AtLeast(1e5)
    assert Budget.of(replace(space, limits=small_space().limits)).activations is None
