"""`deepmad show` and `deepmad compare`: architectures and solutions as figures."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepmad.cli.options import Json
from deepmad.cli.output import DONE, MISUSE, emit_json, out, warn
from deepmad.cli.render import architecture_report, plain_table, solution_report, weights_text
from deepmad.search_spaces.spaces import is_space_name, require_network
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.engine.answers.checks import Disagreement
    from deepmad.engine.answers.solutions import Solution


def show(
    arch: Annotated[
        Path,
        typer.Argument(
            metavar="ARCH_OR_SPACE",
            help="An architecture or a solution file (FILE#3 is its third network), a preset, or a space's YAML file.",
        ),
    ],
    json: Json = False,
) -> int:
    """Show a network's stages, costs, entropy and margins to the limits, or what a space offers.

    All figures are counted again, and a changed file is told.

    Example: deepmad show r50.json
    """
    if is_space_name(arch):
        return _show_space(arch, json=json)
    figures = figures_of(arch)
    if json:
        emit_json(figures)
    elif _is_solution(arch):
        solution_report(_counted(arch)[0], out())
    else:
        architecture_report(figures, out())
    return _tell_changes([arch])


def _show_space(name: Path, *, json: bool) -> int:
    from deepmad.cli.spaces import space_document, space_report
    from deepmad.search_spaces.spaces import load_space

    space = load_space(str(name))
    if json:
        emit_json(space_document(space))
    else:
        space_report(space, out())
    return DONE


def compare(
    archs: Annotated[list[Path], typer.Argument(metavar="ARCH...", help="Architecture or solution files.")],
    json: Json = False,
) -> int:
    """Show several architectures side by side.

    Example: deepmad compare a.json b.json
    """
    for path in archs:
        require_network(path)
    found = [figures_of(path) | {"file": str(path)} for path in archs]
    if json:
        emit_json(found)
        return _tell_changes(archs)
    figures: list[tuple[str, Any]] = [
        ("MACs", lambda f: human(f["macs"], "count")),
        ("params", lambda f: human(f["params"], "count")),
        ("activations", lambda f: human(f["activations"], "count")),
        ("peak activations", lambda f: human(f["activation_bytes"], "bytes")),
        ("entropy", lambda f: f"{f['entropy']:,.1f}"),
        ("rho", lambda f: f"{f['rho']:.4f}"),
        ("depth variance", lambda f: f"{f['depth_variance']:.2f}"),
        ("objective (paper)", lambda f: f"{f['objective_paper']:,.1f}"),
        ("objective (reference)", lambda f: f"{f['objective_reference']:,.1f}"),
        ("  by", lambda f: weights_text(f["alpha"], f["beta"])),
        ("depths", lambda f: " ".join(str(stage["depth"]) for stage in f["stages"])),
        ("outs", lambda f: " ".join(str(stage["out"]) for stage in f["stages"])),
    ]
    rows = [[name, *(of(one) for one in found)] for name, of in figures]
    out().print(plain_table(("", *(path.name.replace(".json", "") for path in archs)), rows))
    return _tell_changes(archs)


def _counted(path: Path) -> "tuple[Solution, list[Disagreement]]":
    """Return the solution in a file, and what in it is not what counting again gives; then nothing of it is proven."""
    from deepmad.engine.answers.solutions import Solution
    from deepmad.search_spaces.architectures import split_rank

    solution = Solution.load(path, changed=True)
    wrong = Solution.load(split_rank(path)[0], changed=True).disagreements()
    return (solution.counted_again() if wrong else solution), wrong


def _tell_changes(paths: list[Path]) -> int:
    """Warn of every figure in files that is not what counting again gives; return the exit code."""
    code = DONE
    for path in filter(_is_solution, paths):
        for one in _counted(path)[1]:
            warn(f"{path}: {one}")
            code = MISUSE
    return code


def figures_of(path: Path) -> dict[str, Any]:
    """Return the figures of an architecture or solution file; a solution's limits come along.

    Where a file says other figures than counting again gives, `changed` tells them, and nothing of it is proven.
    """
    from deepmad.engine.answers.summaries import summary
    from deepmad.search_spaces.architectures import Architecture

    figures = summary(Architecture.load(path))
    if _is_solution(path):
        solution, wrong = _counted(path)
        document = solution.to_dict()
        keys = ("status", "message", "objective", "bound", "gap", "limits", "predicted", "measured", "explanation")
        figures["solution"] = {key: document[key] for key in (*keys, "corners")}
        figures["changed"] = [asdict(one) for one in wrong]
    return figures


def _is_solution(path: Path) -> bool:
    """Return whether a file (FILE#3 too) is a solution file."""
    from deepmad.search_spaces.architectures import split_rank
    from deepmad.search_spaces.files import read_json

    document = read_json(split_rank(path)[0])
    return isinstance(document, dict) and document.get("format") == "deepmad/solution@1"
