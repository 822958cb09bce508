"""Names of a network's layers, as its ONNX file and an engine's profile call them: `stages.0.2.conv1`.

A name is that of the block, as in the torch module, and that of the layer within it: `conv`, `pool` or `linear`,
after `gate.` or `shortcut.` where it stands there, numbered where there are several.
"""

from collections import Counter
from collections.abc import Iterator

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Body, Layer

_OPERATIONS = {"conv": "conv", "average_pool": "pool", "global_pool": "pool", "linear": "linear"}
_PLACES = {"main": "", "classifier": "", "gate": "gate.", "shortcut": "shortcut."}


def named_bodies(network: Architecture) -> Iterator[tuple[str, Body]]:
    """Yield every block of a network, each repeat by itself, with its name, in the order they run."""
    stage, block = None, 0
    for part in network.parts():
        for _ in range(part.repeats):
            if part.stage is None:
                yield part.name, part.body
                continue
            block = block + 1 if part.stage == stage else 0
            stage = part.stage
            yield f"stages.{stage}.{block}", part.body


def layer_names(body: Body) -> tuple[str, ...]:
    """Return the name of each layer of a body, within it."""
    kinds = [_PLACES[layer.role] + _OPERATIONS[layer.operation] for layer in body.layers]
    count, seen = Counter(kinds), Counter[str]()
    names = []
    for kind in kinds:
        names.append(kind if count[kind] == 1 else f"{kind}{seen[kind]}")
        seen[kind] += 1
    return tuple(names)


def named_layers(network: Architecture) -> Iterator[tuple[str, Layer]]:
    """Yield every layer of a network, each repeat by itself, with its name, in the order of the records."""
    for block, body in named_bodies(network):
        for name, layer in zip(layer_names(body), body.layers, strict=True):
            yield f"{block}.{name}", layer
