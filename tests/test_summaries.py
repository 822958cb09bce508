"""The figures of long networks: every part is built and read once, however many stages there are."""

from typing import Any

import pytest

from deepmad.engine.answers import summaries
from deepmad.engine.answers.summaries import summary
from deepmad.search_spaces import architectures
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.layers import Layer, by_stage, total_macs, total_params
from deepmad.search_spaces.torch_builder import network_spec


def long_network(stages: int) -> Architecture:
    """Return a network of so many stages, some of which have one block."""
    made = tuple(Stage("bottleneck", 16 + 8 * (index // 7), 8, 3, 1 + index % 3, 1) for index in range(stages))
    return Architecture(64, Stem(16), made, None, 10)


def test_parts_stand_in_their_stages() -> None:
    network = long_network(5)
    parts, figures = network.parts(), summary(network)["stages"]
    for index, members in enumerate(by_stage(parts, 5)):
        assert members == [part for part in parts if part.stage == index]
        assert figures[index]["macs"] == total_macs(members)
        assert figures[index]["params"] == total_params(members)
    assert [len(stage.blocks) for stage in network_spec(network).stages] == [1, 2, 2, 1, 2]


def test_the_work_grows_with_the_number_of_stages_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    built, read = list[int](), list[int]()
    network_parts, macs = architectures.network_parts, vars(Layer)["macs"].fget

    def building(*words: Any) -> Any:
        built.append(1)
        return network_parts(*words)

    def reading(layer: Layer) -> Any:
        read.append(1)
        return macs(layer)

    monkeypatch.setattr(architectures, "network_parts", building)
    monkeypatch.setattr(Layer, "macs", property(reading))

    def work(stages: int) -> tuple[int, int]:
        built.clear()
        read.clear()
        assert len(summaries.summary(long_network(stages))["stages"]) == stages
        return len(built), len(read)

    few, many = work(20), work(80)
    assert few[0] == many[0] == 2  # with the classifier and without
    assert many[1] < 4 * few[1] + 10
