"""Times of single convolutions, as published tables hold them: arrays with one entry a measured row."""

from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ConvolutionTimes:
    """Measured convolutions: int64 arrays of one shape, one entry a row.

    `side` is that of the square input in pixels, `adds` 1 where an element-wise addition is fused into the
    convolution, `depthwise` 1 for depthwise rows; `nanoseconds` are those of one whole batch.
    """

    depthwise: Ints
    batch: Ints
    inputs: Ints
    side: Ints
    outputs: Ints
    kernel: Ints
    stride: Ints
    adds: Ints
    nanoseconds: Ints

    @staticmethod
    def of(rows: list[tuple[int, ...]]) -> "ConvolutionTimes":
        """Return the rows, each with its numbers in the order of the fields."""
        return ConvolutionTimes(*np.array(rows, dtype=np.int64).reshape(-1, len(fields(ConvolutionTimes))).T)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.nanoseconds)

    def where(self, chosen: Bools) -> "ConvolutionTimes":
        """Return the rows of a mask."""
        return ConvolutionTimes(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def rows(self) -> list[tuple[int, ...]]:
        """Return the rows as tuples of plain numbers in the order of the fields."""
        return list(zip(*(column.tolist() for column in astuple(self)), strict=True))
