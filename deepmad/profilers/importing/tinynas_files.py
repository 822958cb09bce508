"""The latency tables of TinyNAS (github.com/alibaba/lightweight-neural-architecture-search): convolutions on a V100.

A line is `{Kind,batch,c_in,h,w,c_out,kernel,stride,elmt_fused} milliseconds`: Kind is Regular or Depthwise, the
time is that of one whole batch, -1 where it was not measured, and elmt_fused is 1 where an element-wise addition
(the residual's) runs within the convolution. That the time is a batch's follows from the rates: read so, the dense
rows reach at most 20 TFLOPS in fp32 (Winograd on a device of 15.7) and 97 in fp16 (of 125).
"""

import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from deepmad.profilers.importing.left_out import LeftOut, agreeing, check_unit
from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.profilers.prediction.quantities import (
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_KERNEL,
    MOST_SIDE,
    SECONDS_ALLOWED,
    nanoseconds_of,
)
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_text

_LINE = re.compile(r"\{(Regular|Depthwise)((?:,[0-9]{1,9}){8})\}\s+(-?[0-9.]+(?:[eE][-+]?[0-9]{1,3})?)")
UNMEASURED = -1.0
_EXAMPLE = "{Regular,64,256,14,14,256,3,1,0} 0.52"

Numbers = tuple[int, ...]
"""(depthwise, batch, c_in, side, c_out, kernel, stride, elmt_fused) of a line."""


def read_tinynas(path: Path) -> tuple[ConvolutionTimes, Counter[int], LeftOut]:
    """Return the measured rows of a file, for every batch how many were not measured, and the lines left out.

    Of a row given twice the middle time counts. Raises `InputError` where most lines are not of the format, where
    times of one row contradict each other or are in seconds, and where nothing was measured.
    """
    found: dict[Numbers, list[int | None]] = defaultdict(list)
    left_out = LeftOut(path, "lines")
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                key, nanoseconds = _parsed(line.strip())
                found[key].append(nanoseconds)
            except InputError as error:
                left_out.add(f"line {number}", str(error))
    left_out.check(sum(map(len, found.values())))
    times = {key: [one for one in given if one is not None] for key, given in found.items()}
    measured = [(*key, _agreed(path, key, given)) for key, given in times.items() if given]
    if not measured:
        raise InputError(f"{path}: holds no measured convolution; name a file of lines like {_EXAMPLE}")
    check_unit(path, [row[-1] for row in measured], "milliseconds")
    return ConvolutionTimes.of(measured), Counter(key[1] for key, given in times.items() if not given), left_out


def _agreed(path: Path, key: Numbers, times: list[int]) -> int:
    if not agreeing(times):
        low, high = min(times) / 1e6, max(times) / 1e6
        _, batch, inputs, side, outputs, kernel, stride, fused = key
        row = f"{batch},{inputs},{side},{side},{outputs},{kernel},{stride},{fused}"
        raise InputError(f"{path}: holds a row {row} with {low:.4g} and with {high:.4g} ms; remove the wrong one")
    return round(median(times))


def _parsed(line: str) -> tuple[Numbers, int | None]:
    """Return the numbers and the nanoseconds of a line, None for not measured."""
    match = _LINE.fullmatch(line)
    milliseconds = _number(match[3]) if match else math.nan
    nanoseconds = nanoseconds_of(milliseconds, unit=1e-3)
    if match is None or (nanoseconds is None and milliseconds != UNMEASURED):
        raise InputError(
            f"{line[:80]!r} is no tinynas row; they look like {_EXAMPLE}, in milliseconds {SECONDS_ALLOWED} or -1 for "
            "not measured"
        )
    batch, inputs, height, width, outputs, kernel, stride, fused = map(int, match[2].split(",")[1:])
    depthwise = match[1] == "Depthwise"
    if height != width or (depthwise and inputs != outputs) or fused > 1 or 0 in (batch, inputs, height, outputs):
        raise InputError(
            f"{line[:80]!r} is impossible here; inputs are square, a depthwise row keeps its channels, "
            f"elmt_fused is 0 or 1; remove the line"
        )
    if stride not in range(1, height + 1) or kernel % 2 == 0:
        raise InputError(f"{line[:80]!r} is impossible here; kernels are odd, strides 1 to h; remove the line")
    if batch > MOST_BATCH or max(inputs, outputs) > MOST_CHANNELS or height > MOST_SIDE or kernel > MOST_KERNEL:
        raise InputError(
            f"{line[:80]!r} is impossible here; a batch has up to {MOST_BATCH} images, a layer up to {MOST_CHANNELS} "
            f"channels, a side of {MOST_SIDE} and a kernel of {MOST_KERNEL}; remove the line"
        )
    return (int(depthwise), batch, inputs, height, outputs, kernel, stride, fused), nanoseconds


def _number(text: str) -> float:
    """Return the number in a text, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
