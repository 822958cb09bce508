"""The verdict on a table: good, fair or poor, why, and what to do about it; read off its description."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from deepmad.profilers.prediction.accuracy import MIN_HELD_OUT

Grade = Literal["good", "fair", "poor"]
GRADES: tuple[Grade, ...] = ("good", "fair", "poor")
GOOD_SHARE, FAIR_SHARE = 0.9, 0.8
"""A good table predicts this share of what was held out within 10 %, a fair one the second."""
FEW = 20
"""Fewer networks or rows held out than this tell the errors only roughly."""
DOUBTFUL_ERROR = 20.0
"""From this mean error in per cent on, of what was held out, a table is poor."""
FEW_DISTURBED, MANY_DISTURBED = 0.2, 0.5
"""A table is fair where more than this share of its probes was disturbed, poor beyond the second."""
BUSY, ALWAYS_BUSY, STOLEN = 0.5, 0.9, 0.1
"""It is fair where other work was running during more than this share of the probes, poor beyond the second, and where
the hypervisor kept more than the third of the processor's time in half of them."""
MANY_FAILED, DRIFT = 0.1, 1.25
"""It is fair where more than this share failed, or where the anchor took so many times its usual time."""
CLOCK_ERROR = timedelta(days=1)
"""A later date than that is in the future."""


@dataclass(frozen=True)
class Verdict:
    """How far a table can be trusted, why no further, and what to do."""

    grade: Grade
    reasons: tuple[str, ...] = ()
    advice: str | None = None


def verdict_sentence(described: Mapping[str, Any]) -> str:
    """Return the verdict that a table's description holds, its reasons and the way out, in one line."""
    told = f"{described['verdict']}: {', '.join(described['reasons'])}"
    return f"{told}; {described['advice']}" if described["advice"] else told


def verdict(described: Mapping[str, Any], command: str, path: Path) -> Verdict:
    """Return the verdict on a table that `describe_tables` described.

    `command` builds it, if it was built, and `path` is its file.
    """
    found = [*_accuracy(described), *(() if "source" in described else _conditions(described))]
    reasons = [(grade, reason) for grade, reason in found if reason]
    grade = GRADES[max((GRADES.index(grade) for grade, _ in found), default=0)]
    doubts = tuple(reason for one, reason in reasons if one != "good") or tuple(reason for _, reason in reasons)
    return Verdict(grade, doubts, None if grade == "good" else _advice(described, command, path))


def _accuracy(described: Mapping[str, Any]) -> Iterator[tuple[Grade, str]]:
    """Yield what the errors on what was held out say."""
    held_out = described["held_out"]
    if not described["finished"]:
        yield "poor", f"unfinished, {described['measured']} of {described['probes']} probes are measured"
        return
    if held_out is None and described.get("form") == "tinynas":
        yield "fair", "no whole network was measured, so its errors are not known"
        return
    if held_out is None:
        yield "poor", f"too little to tell its errors: that takes {MIN_HELD_OUT} whole networks, or 50 blocks"
        return
    share, error = held_out["within_10_percent"], held_out["mean_absolute_percentage_error"]
    count, what = next((held_out[name], name) for name in ("networks", "rows") if name in held_out)
    told = f"{share:.0%} of {count} {what} held out are predicted within 10 %"
    if error >= DOUBTFUL_ERROR:
        yield "poor", f"{told}, the mean error is {error:.3g} %"
    else:
        yield "good" if share >= GOOD_SHARE else "fair" if share >= FAIR_SHARE else "poor", told
    if count < FEW:
        yield "fair", f"that few tell its errors roughly only ({count} {what}, {FEW} are better)"


def _conditions(described: Mapping[str, Any]) -> Iterator[tuple[Grade, str]]:
    """Yield what the machine's state says of a table that was built."""
    measured = max(1, described["measured"])
    disturbed, busy, failed = (described.get(name, 0) for name in ("disturbed", "busy", "failed"))
    if disturbed > FEW_DISTURBED * measured:
        grade: Grade = "poor" if disturbed > MANY_DISTURBED * measured else "fair"
        yield grade, f"{disturbed} of {measured} probes were disturbed"
    if busy > BUSY * measured:
        load, stolen = described["load"], described["stolen_share"]
        told = (
            f"other work was running during {busy} of {measured} probes (load average {load:.1f}, {stolen:.0%} stolen)"
        )
        yield "poor" if stolen > STOLEN or busy > ALWAYS_BUSY * measured else "fair", told
    if failed > MANY_FAILED * (measured + failed):
        yield "fair", f"{failed} probes failed"
    drift = described["drift"]
    if drift is not None and drift[1] > DRIFT:
        yield "fair", f"the machine was up to {drift[1] - 1:.0%} slower than usual meanwhile"
    if described.get("dates") and _moment(described["dates"][1]) > datetime.now(UTC) + CLOCK_ERROR:
        yield "poor", f"dated {described['dates'][1][:10]}, which is in the future"


def _moment(date: str) -> datetime:
    found = datetime.fromisoformat(date)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _advice(described: Mapping[str, Any], command: str, path: Path) -> str:
    """Return what makes a better table of it."""
    if "source" in described:
        return "a table built on the device itself is better: deepmad table build SPACE"
    if described["measured"] + described.get("failed", 0) < described["probes"]:
        return f"go on, with more --minutes, while nothing else runs: {command} -o {path}"
    return f"build it again while nothing else runs: {command} -o OTHER.sqlite"
