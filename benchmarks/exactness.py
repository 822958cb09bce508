"""How exact the solvers are: random small problems of every kind beside brute force over all of their networks.

Half of them have pictures of 128 to 2,048 pixels, whose counts are far above 2^31. For each problem CP-SAT, `design`
and every bound that branch and price yields are held against the optimum, the next best networks, the nearest feasible
value of each limit and the limits that clash against brute force. Problems of even seeds are priced as large spaces
are. Ends with exit code 1 where anything disagrees.
Run: python -m benchmarks.exactness --problems 200 --seed 1 --workers 2
"""

import time
from concurrent.futures import ProcessPoolExecutor
from random import Random

import typer

from benchmarks.conditions import write_results
from deepmad.engine.solvers.bounds import widths
from tests.agreement import Agreement, agreement
from tests.random_problems import Case, random_case

MANY_CELLS = widths.MANY_CELLS


def main(problems: int = 200, seed: int = 1, workers: int = 1) -> None:
    rows, disagreements = [], 0
    with ProcessPoolExecutor(workers) as pool:
        for found, sentences in pool.map(looked_at, range(seed, seed + problems)):
            rows.append(found)
            disagreements += bool(sentences)
            print(f"seed {found['seed']}: {found['networks']} networks, {found['status']}", flush=True)
            for sentence in sentences:
                print(f"  {sentence}", flush=True)
    print(f"written to {write_results('exactness', rows)}")
    errors = [float(str(some["relative_error"])) for some in rows if some["relative_error"] is not None]
    infeasible = sum(some["optimum"] is None for some in rows)
    print(
        f"{problems} problems, {infeasible} of them infeasible: {disagreements} disagreements, "
        f"worst relative error {max(errors, default=0.0):.1e}"
    )
    raise typer.Exit(code=int(disagreements > 0))


def looked_at(seed: int) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the line of one problem, and what is wrong with the answers."""
    started = time.perf_counter()
    case = random_case(Random(seed))
    widths.MANY_CELLS = MANY_CELLS if seed % 2 else 0
    found = agreement(case)
    return row(seed, case, found, time.perf_counter() - started), found.disagreements


def row(seed: int, case: Case, found: Agreement, seconds: float) -> dict[str, object]:
    """Return a line of the results: the problem, what brute force and CP-SAT say of it, the bounds' least slack."""
    problem, stages = case.problem, case.problem.space.stages
    return {
        "seed": seed,
        "resolution": problem.space.resolution,
        "networks": len(case.counted),
        "feasible": len(case.values),
        "stages": len(stages),
        "kinds": " ".join("+".join(stage.block) for stage in stages),
        "limits": " ".join(problem.limits()),
        "objective_name": problem.objective,
        "status": found.exact.status,
        "optimum": case.optimum,
        "cpsat_objective": found.objective,
        "cpsat_bound": found.exact.bound,
        "relative_error": found.relative_error,
        "least_bound_slack": found.least_slack,
        "disagreements": len(found.disagreements),
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    typer.run(main)
