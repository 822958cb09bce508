"""The scales in the integer program: convolutions and log-widths so far, wherever a scale ends."""

from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.costs.records import end_grids, scale_ends
from deepmad.engine.program.entropy import Scale
from deepmad.engine.solvers.cpsat.expressions import Axis, Builder
from deepmad.engine.solvers.cpsat.stages import StageVariables, Total, end_total, stage_terms, stage_total
from deepmad.engine.solvers.cpsat.terms import Array, Terms, scaled_logs, summed
from deepmad.search_spaces.layers import Body
from deepmad.search_spaces.spaces import Space


@dataclass(frozen=True)
class ScaleTotals:
    """One scale in the program: main-path convolutions so far, their log-widths, and the channels there."""

    depth: Total
    log_widths: Total
    channels: Axis | int
    side: int

    @property
    def factors(self) -> Array:
        """ln(r^2 c), the entropy of one nat of log-width, for every value of the channels."""
        values = self.channels.values if isinstance(self.channels, Axis) else np.array([self.channels])
        return np.asarray(Scale(1, 1.0, values, self.side).entropy)


def _convolutions(body: Body) -> Terms:
    return {(): np.int64(len(body.main))}  # type: ignore[dict-item]


def _log_widths(body: Body) -> Terms:
    return scaled_logs(summed(Body(body.main), lambda layer: np.log(layer.fan_in)))


def scale_totals(builder: Builder, space: Space, stem: Axis, stages: list[StageVariables]) -> list[ScaleTotals]:
    """Return the scales, first to last, summed as `deepmad.engine.program.entropy.scales` sums them."""
    last = stages[-1].out
    opening, *closing = end_grids(space)
    depth = end_total(builder, stem, last, _convolutions(opening), "depth")
    logs = end_total(builder, stem, last, _log_widths(opening), "entropy")
    *inner, end = scale_ends(space)
    found = []
    for index, stage in enumerate(stages):
        found += [ScaleTotals(depth, logs, stage.c_in, scale.side) for scale in inner if scale.stages == index]
        depth += stage_total(builder, stage, stage_terms(stage, _convolutions), "convolutions")
        logs += stage_total(builder, stage, stage_terms(stage, _log_widths), "entropy")
    for body in closing:
        depth += end_total(builder, stem, last, _convolutions(body), "depth")
        logs += end_total(builder, stem, last, _log_widths(body), "entropy")
    channels = last if end.channels is None else end.channels
    return [_held(builder, scale) for scale in (*found, ScaleTotals(depth, logs, channels, end.side))]


def _held(builder: Builder, scale: ScaleTotals) -> ScaleTotals:
    """Return the scale with its sums held by variables of their own."""

    def held(total: Total, name: str) -> Total:
        if total.low == total.high:
            return Total(total.low, total.low, total.high)
        variable = builder.variable(total.low, total.high, name)
        builder.model.add(variable == total.expression)
        return Total(variable, total.low, total.high)

    return replace(scale, depth=held(scale.depth, "convolutions"), log_widths=held(scale.log_widths, "entropy"))
