"""How a network is run: what back ends, ONNX files and measurements have to agree on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How a network is run: images in a batch, precision, threads, and the size of the input.

    `resolution` is the side of the images, their height where `width` is another.
    """

    batch: int
    precision: str
    threads: int
    in_channels: int
    resolution: int
    width: int | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input: (batch, in_channels, height, width)."""
        return (self.batch, self.in_channels, self.resolution, self.width or self.resolution)
