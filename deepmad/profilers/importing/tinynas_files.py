"""The latency tables of TinyNAS (github.com/alibaba/lightweight-neural-architecture-search): convolutions on a V100.

A line is `{Kind,batch,c_in,h,w,c_out,kernel,stride,elmt_fused} milliseconds`: Kind is Regular or Depthwise, the
time is that of one whole batch, -1 where it was not measured, and elmt_fused is 1 where an element-wise addition
(the residual's) runs within the convolution. That the time is a batch's follows from the rates: read so, the dense
rows reach at most 20 TFLOPS in fp32 (Winograd on a device of 15.7) and 97 in fp16 (of 125).
"""

import math
import re
from collections import Counter
from pathlib import Path

from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_text

_LINE = re.compile(r"\{(Regular|Depthwise)((?:,[0-9]{1,9}){8})\}\s+(\S+)")
_NANOSECONDS_IN_MILLISECOND = 10**6
UNMEASURED = -1.0


def read_tinynas(path: Path) -> tuple[ConvolutionTimes, Counter[int]]:
    """Return the measured rows of a file, and for every batch how many of its rows were not measured.

    Of a row given twice the last one counts. Raises `InputError` with the number and the content of the
    first line that is not of the format, and where nothing was measured.
    """
    found: dict[tuple[int, ...], float] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            key, milliseconds = _parsed(line.strip(), f"{path}: line {number}")
            found[key] = milliseconds
    measured = [
        (*key, max(1, round(milliseconds * _NANOSECONDS_IN_MILLISECOND)))
        for key, milliseconds in found.items()
        if milliseconds != UNMEASURED
    ]
    if not measured:
        raise InputError(f"{path}: holds no measured convolution; name a file of lines like {_EXAMPLE}")
    unmeasured = Counter(key[1] for key, milliseconds in found.items() if milliseconds == UNMEASURED)
    return ConvolutionTimes.of(measured), unmeasured


_EXAMPLE = "{Regular,64,256,14,14,256,3,1,0} 0.52"


def _parsed(line: str, where: str) -> tuple[tuple[int, ...], float]:
    """Return (depthwise, batch, c_in, side, c_out, kernel, stride, elmt_fused) and the milliseconds of a line."""
    match = _LINE.fullmatch(line)
    milliseconds = _number(match[3]) if match else math.nan
    if match is None or not (milliseconds > 0 or milliseconds == UNMEASURED):
        raise InputError(f"{where}: {line[:80]!r} is no tinynas row; they look like {_EXAMPLE}, -1 for not measured")
    batch, inputs, height, width, outputs, kernel, stride, fused = map(int, match[2].split(",")[1:])
    depthwise = match[1] == "Depthwise"
    if height != width or (depthwise and inputs != outputs) or fused > 1 or 0 in (batch, inputs, height, outputs):
        raise InputError(
            f"{where}: {line[:80]!r} is impossible here; inputs are square, a depthwise row keeps its channels, "
            f"elmt_fused is 0 or 1; remove the line"
        )
    if stride not in range(1, height + 1) or kernel % 2 == 0:
        raise InputError(f"{where}: {line[:80]!r} is impossible here; kernels are odd, strides 1 to h; remove the line")
    return (int(depthwise), batch, inputs, height, outputs, kernel, stride, fused), milliseconds


def _number(text: str) -> float:
    """Return the finite number in a text, NaN where there is none."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
