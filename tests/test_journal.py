"""A benchmark that was cut off goes on: what its journal holds is not computed again."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.journal import Journal


def never() -> Any:
    raise AssertionError("it was done before")


def test_what_was_done_is_kept_for_the_same_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = Journal("toy", "r18", 2)
    assert first.once("a", lambda: {"seconds": 0.5}) == {"seconds": 0.5}
    assert first.once("b", lambda: [1.0]) == [1.0]
    with first.path.open("a", encoding="utf-8") as file:
        file.write('["c", "0.2')  # cut off while it was written
    second = Journal("toy", "r18", 2)
    assert second.once("a", never) == {"seconds": 0.5}
    assert second.once("c", lambda: 0.25) == 0.25
    assert Journal("toy", "r18", 2).once("c", never) == 0.25
    assert Journal("toy", "r18", 3).once("a", lambda: 7) == 7
    second.close()
    assert Journal("toy", "r18", 2).done == {}
