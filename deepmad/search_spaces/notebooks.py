"""What notebooks show: frames of pandas and pictures of matplotlib, which are loaded when they are needed."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

FORMATS = ("png", "svg", "pdf")


def frame(rows: Iterable[Mapping[str, Any]], index: str | None = None) -> "DataFrame":
    """Return rows as a pandas frame, one column of them as its index. Raises `ImportError` without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(f"a frame needs pandas ({error}); pip install pandas") from error
    made = pd.DataFrame([dict(row) for row in rows])
    return made if index is None else made.set_index(index)


def empty_figure(width: float, height: float) -> "Figure":
    """Return a figure of so many inches without anything in it. Raises `ImportError`, which names the extra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"a picture needs matplotlib ({error}); pip install 'deepmad[report]'") from error
    return Figure(figsize=(width, height), layout="constrained")


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows and `save` writes; `figure` is matplotlib's."""

    figure: Any

    def __repr__(self) -> str:
        return "<Picture: a notebook shows it; save(FILE) writes it>"

    def _repr_svg_(self) -> str:
        return self._drawn("svg").decode()

    def save(self, path: str | Path) -> None:
        """Write the picture as .svg, .png or .pdf, whole or not at all. Raises `InputError` for another ending."""
        path = Path(path)
        if (form := path.suffix.lower().removeprefix(".")) not in FORMATS:
            raise InputError(f"{path}: a picture's name ends in {', '.join(f'.{one}' for one in FORMATS)}")
        write_bytes(path, self._drawn(form))

    def _drawn(self, form: str) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format=form, dpi=160)
        return stream.getvalue()
