"""What stands beside a zoo: how references are read, and what is told of them."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.errors import InputError
from deepmad.zoo.families import Family, load_family, needs
from deepmad.zoo.references import Known, known, reference_record
from deepmad.zoo.spec import Reference, SpecFile, load_spec
from tests.zoo_parts import Replay, spec_of, written

STAGES = (Stage("bottleneck", 32, 16, 3, 1, 2), Stage("mbconv", 48, 144, 3, 2, 1))
NETWORK = Architecture(32, Stem(16), STAGES, None, 10, name="one")
UNEVEN = replace(NETWORK, stages=(STAGES[0], replace(STAGES[1], depth=60)))
"""Its depths differ by so much that the penalty of the paper's objective is infinite."""


def opened(path: Path) -> tuple[SpecFile, Family]:
    """Return a spec and its only family."""
    file = load_spec(path)
    (family,) = (load_family(need, file.spec) for need in needs(file))
    return file, family


@pytest.mark.parametrize("measure", [True, False])
def test_what_a_prediction_takes_for_granted_is_told_of_predictions_only(
    measure: bool, small_tables: Path, tmp_path: Path
) -> None:
    file, family = opened(written(tmp_path, spec_of(small_tables, verify={"measure": measure})))
    layers = replace(NetworkLayers.of(NETWORK), approximated=("1 MaxPool as an average pool",))
    reference, timed = Reference("one", model="one.json"), partial(Replay(small_tables), family.key)
    record = reference_record(reference, Known(NETWORK, layers), family, file.spec, timed)
    told = (record["source"], record["note"])
    assert told == (("measured", None) if measure else ("predicted", "it takes 1 MaxPool as an average pool"))
    assert record["objective"] == family.problem(file.spec).value(NETWORK)


def test_an_objective_that_is_infinite_is_none(small_tables: Path, tmp_path: Path) -> None:
    file, family = opened(written(tmp_path, spec_of(small_tables)))
    timed = partial(Replay(small_tables), family.key)
    found = Known(UNEVEN, NetworkLayers.of(UNEVEN))
    record = reference_record(Reference("uneven", model="uneven.json"), found, family, file.spec, timed)
    assert record["latency_seconds"] > 0
    assert record["objective"] is None


def raising_in_tests(pretrained: bool = False, **_options: Any) -> None:
    """Raise, as a model of another library may."""
    del pretrained
    raise RuntimeError("no such layer\nat all")


@pytest.mark.usefixtures("torchvision_operators")
def test_a_model_of_others_that_raises_is_told_in_a_line(small_tables: Path, tmp_path: Path) -> None:
    from timm.models import register_model

    file = load_spec(written(tmp_path, spec_of(small_tables)))
    register_model(raising_in_tests)
    with pytest.raises(InputError, match=r"timm:raising_in_tests: cannot be taken apart \(no such layer\)"):
        known(file, Reference("broken", model="timm:raising_in_tests"))
