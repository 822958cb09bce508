"""Per-layer profiles of TensorRT: the file that `trtexec --exportProfile=FILE` writes, or any back end's layer times.

The file is a JSON list: `{"count": RUNS}`, then one object an engine layer with its `name`, `averageMs` and, in newer
versions, `medianMs`. A name tells the ONNX nodes that were fused into the layer, like `conv0 + relu`,
`conv0 || conv1`, `PWN(relu)`, `{ForeignNode[conv0...conv3]}`, `conv0_U4_myl0_3`, or that it serves, like
`Reformatting CopyNode for Input Tensor 0 to conv0`; kernels that TensorRT makes up (`__myl_Mul_myl0_4`) tell none.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmad.profilers.importing.left_out import LeftOut
from deepmad.profilers.onnx_files.layer_names import named_layers
from deepmad.profilers.prediction.layer_rows import LayerRow
from deepmad.profilers.prediction.quantities import SECONDS_ALLOWED, nanoseconds_of
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_json
from deepmad.search_spaces.layers import Layer

_OWN = re.compile(r"^__my|\^bb\^|Unnamed Layer|ONNXTRT|[Rr]eformat|[Cc]opy|trainStation|Mem(set|cpy)")
"""Marks of the engine layers that TensorRT adds by itself, which need not name a node."""
_RANGE = re.compile(r"ForeignNode\[(.*?)\.\.\.(.*?)\]")
UNNAMED = "layers that the profile does not name"


def read_trtexec(path: Path) -> tuple[dict[str, float], LeftOut]:
    """Return the seconds of every engine layer by its name, in the order of the file, and the entries left out.

    Medians count where the file has them; entries of one name add up. Raises `InputError` where most entries are not
    of the form, and where the times are in seconds.
    """
    document = read_json(path)
    if not isinstance(document, list):
        raise InputError(f"{path}: is no list of engine layers; name what trtexec --exportProfile wrote")
    seconds: dict[str, float] = {}
    left_out = LeftOut(path, "entries")
    for number, entry in enumerate(document, start=1):
        if isinstance(entry, dict) and "count" in entry and "name" not in entry:
            continue  # how many runs there were, and perhaps more about them
        try:
            name, taken = _entry(entry)
            seconds[name] = seconds.get(name, 0.0) + taken
        except InputError as error:
            left_out.add(f"entry {number}", str(error))
    left_out.check(len(seconds))
    return seconds, left_out


def _entry(entry: Any) -> tuple[str, float]:
    """Return an engine layer's name and seconds; it may take none."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{str(entry)[:60]} has no name; it must be an object with name and averageMs")
    milliseconds = entry.get("medianMs", entry.get("averageMs"))
    nothing = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool) and milliseconds == 0
    if not nothing and nanoseconds_of(milliseconds, unit=1e-3) is None:
        raise InputError(
            f"{name[:60]!r} takes {str(milliseconds)[:40]} ms; averageMs must be 0 or a number, {SECONDS_ALLOWED}"
        )
    return name, milliseconds / 1e3


def profile_rows(network: Architecture, seconds: Mapping[str, float], source: str) -> list[LayerRow]:
    """Return the layers of a network with their times, read from the seconds of its engine's layers for one batch.

    Layers that an engine layer fuses make one row, and so do all that share an engine layer; a copy counts to the
    layers it names. The engine layers that name no node make one row with the layers that none names, and what a
    network costs whatever its layers. So the rows add up to the whole profile. `source` names the profile. Raises
    `InputError` with the first engine layer of which the network knows nothing, or where no time is left.
    """
    named = list(named_layers(network))
    index = {name: number for number, (name, _) in enumerate(named)}
    pattern = _pattern(index)
    group = list(range(len(named)))  # of every layer the first one that is timed together with it
    charged: list[tuple[int, float]] = []
    unclear = 0.0
    for text, time in seconds.items():
        found = _layers_in(text, pattern, index)
        if not found and not _OWN.search(text):
            raise InputError(
                f"{source}: no layer of the network is called {text[:120]!r}; profile the file that "
                "deepmad export MODEL --to onnx writes, and give that MODEL"
            )
        if found:
            merged = {group[number] for number in found}
            group = [min(merged) if one in merged else one for one in group]
            charged.append((found[0], time))
        else:
            unclear += time
    total = dict.fromkeys(group, 0.0)
    for number, time in charged:
        total[group[number]] += time
    return _rows(named, group, total, unclear, source)


def _rows(
    named: list[tuple[str, Layer]], group: list[int], total: Mapping[int, float], unclear: float, source: str
) -> list[LayerRow]:
    """Return a row for every group with a time; the other layers go with `unclear`, or with the row before them."""
    timed = [one for one in dict.fromkeys(group) if total[one] > 0]
    if not timed:
        raise InputError(f"{source}: no engine layer took any time; name the profile of a run")
    members: dict[int, list[int]] = {one: [] for one in timed}
    unnamed = []
    before = timed[0]
    for number, one in enumerate(group):
        if one in members:
            before = one
        elif unclear > 0:
            unnamed.append(number)
            continue
        members[before].append(number)
    if len(timed) == 1 and len(named) > 1:
        raise InputError(
            f"{source}: one engine layer stands for {len(members[timed[0]])} layers of {len(named)}, so it tells none "
            "apart; profile an engine whose layers have times of their own"
        )
    rows = [_row(named, members[one], total[one], source) for one in timed]
    if unclear > 0:
        rest = tuple(named[number][1] for number in unnamed)
        rows.append(LayerRow(source, UNNAMED, rest, max(1, round(unclear * 1e9)), networks=1))
    return rows


def _row(named: list[tuple[str, Layer]], numbers: list[int], seconds: float, source: str) -> LayerRow:
    layers = tuple(named[number][1] for number in numbers)
    return LayerRow(source, " + ".join(named[number][0] for number in numbers), layers, max(1, round(seconds * 1e9)))


def _pattern(names: Mapping[str, int]) -> re.Pattern[str]:
    """Return what finds the names of layers within an engine layer's: whole ones, but for a node's own ending."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![0-9A-Za-z.])({'|'.join(map(re.escape, longest_first))})(?![0-9A-Za-z])")


def _layers_in(text: str, pattern: re.Pattern[str], index: Mapping[str, int]) -> list[int]:
    """Return the numbers of the layers that an engine layer's name tells, rising."""
    found = {index[name] for name in pattern.findall(_RANGE.sub("", text))}
    for ends in _RANGE.finditer(text):
        numbers = [index[name] for end in ends.groups() for name in pattern.findall(end)]
        found |= set(range(min(numbers), max(numbers) + 1)) if numbers else set()
    return sorted(found)
