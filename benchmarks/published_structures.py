"""What the objective says of structures whose accuracy on ImageNet is published, made of the same kinds of blocks.

GENet-M (arXiv 2006.14090; `gernet_m` of timm) and DeepMAD-R50 reach the same accuracy at very different cost; ResNet-50
and DeepMAD-R18 stand beside. GENet-M is read twice: from timm's model, and built from this project's blocks, whose main
path is the same. With `--design SECONDS` the best network of r50 within GENet-M's MACs and parameters is designed too.

    python -m benchmarks.published_structures --design 60
"""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from benchmarks.conditions import RESULTS, write_results
from benchmarks.ranking.networks import Trained
from benchmarks.ranking.scores import scores_of
from benchmarks.ranking.timm_results import parts_of
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.layers import Part, total_macs, total_params
from deepmad.search_spaces.spaces import load_space

EXAMPLES = RESULTS.parent / "examples"
SIDE = 224
GENET_M = Architecture(
    SIDE,
    Stem(32),
    (
        Stage("basic", 128, 128, 3, 1, 2),
        Stage("basic", 192, 192, 3, 2, 2),
        Stage("bottleneck", 640, 160, 3, 6, 2),
        Stage("mbconv", 640, 1920, 3, 4, 2),
        Stage("mbconv", 640, 1920, 3, 1, 1),
    ),
    Tail(2560),
    name="GENet-M of our blocks",
)
"""Its shortcuts differ from the published ones where `mbconv` opens a stage: there they hold a 1x1 convolution."""


@dataclass(frozen=True)
class Structure:
    """A structure, its top-1 accuracy in percent and who published that; None where nobody trained it."""

    name: str
    parts: tuple[Part, ...]
    top1: float | None
    source: str


def main(
    design_seconds: Annotated[float, typer.Option("--design", help="Seconds of a design within GENet-M's costs.")] = 0,
) -> None:
    """Score the structures, and write results/published_structures.csv."""
    found = structures()
    if design_seconds:
        found.append(designed(design_seconds))
    rows = [{"structure": one.name, "top1": one.top1 or "", "of": one.source, **figures(one)} for one in found]
    for row in rows:
        print(" ".join(f"{key} {value}" for key, value in row.items()))
    print(f"written to {write_results('published_structures', rows)}")


def structures() -> list[Structure]:
    """Return the published structures on 224 pixels, with a classifier of 1000."""
    timm, authors = "timm's results, 224 pixels", "the authors"
    loaded = [Architecture.load(EXAMPLES / f"deepmad-{name}.json") for name in ("r18", "r50")]
    r18, r50 = (replace(network, classes=1000).parts() for network in loaded)
    return [
        Structure("gernet_m", parts_of("gernet_m", SIDE), 80.702, timm),
        Structure(GENET_M.name, GENET_M.parts(), 80.702, timm),
        Structure("resnet50", parts_of("resnet50", SIDE), 80.846, f"{timm} (tv2_in1k)"),
        Structure("deepmad-r18", r18, 77.7, authors),
        Structure("deepmad-r50", r50, 80.6, authors),
    ]


def designed(seconds: float) -> Structure:
    """Return the best network of r50 found within GENet-M's MACs and parameters."""
    parts, space = GENET_M.parts(), load_space("r50")
    budget = replace(Budget.of(space), macs=total_macs(parts), params=total_params(parts))
    problem = Problem(space, budget, objective="reference", classes=1000)
    solution = design(problem, CpSat(seconds, workers=1, seed=0))
    if solution.architecture is None:
        raise typer.Exit(1)
    gap = "unknown" if solution.gap is None else f"{solution.gap:.2%}"
    name = f"designed within the costs of {GENET_M.name}, gap {gap}"
    return Structure(name, solution.architecture.parts(), None, "trained by nobody")


def figures(structure: Structure) -> dict[str, float]:
    """Return a structure's scores."""
    scores = scores_of(Trained(structure.name, structure.parts, structure.top1 or 0.0, residual=True))
    scores.pop("random")
    return {name: round(float(value), 4) for name, value in scores.items()}


if __name__ == "__main__":
    typer.run(main)
