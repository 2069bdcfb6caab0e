"""How much sooner one training reaches what another one ends with."""

from __future__ import annotations

import math
from typing import NamedTuple

from metaccord.statistics import over_seeds

Curve = list[tuple[int, float, float]]
"""Meta-step, seconds of training so far, value on validation tasks."""


class Race(NamedTuple):
    """Both trainings of one seed on their way to the same value.

    Attributes:
        base, ours: Meta-steps until the value was reached.
        reached: Whether ours did; otherwise ``ours`` is where it ended, a lower bound.
    """

    base: int
    ours: int
    reached: bool


def smoothed(curve: Curve, window: int = 3) -> Curve:
    """Return the curve with the mean of the last ``window`` values in place of each."""
    found = []
    for i, (step, seconds, _) in enumerate(curve):
        last = [value for _, _, value in curve[max(0, i + 1 - window) : i + 1]]
        found.append((step, seconds, sum(last) / len(last)))
    return found


def reach(curve: Curve, target: float, *, more: bool) -> int | None:
    """Return the meta-step at which the value first is as good as the target.

    Args:
        curve: Smoothed.
        target: The value.
        more: Whether more is better.
    """
    for step, _, value in curve:
        if value >= target if more else value <= target:
            return step
    return None


def races(base: list[Curve], ours: list[Curve], *, more: bool, moment: float = 1.0) -> list[Race]:
    """Let each pair of trainings run to the smoothed value that the base has at a moment.

    Args:
        base, ours: One curve per seed, in the same order.
        more: Whether more is better.
        moment: Fraction of the base's training, 1: its end.
    """
    found = []
    for one, other in zip(map(smoothed, base), map(smoothed, ours), strict=True):
        target = one[max(1, round(moment * len(one))) - 1][2]
        start, end = (reach(curve, target, more=more) for curve in (one, other))
        assert start is not None  # its last value reaches it
        found.append(Race(start, other[-1][0] if end is None else end, end is not None))
    return found


def acceleration(found: list[Race]) -> tuple[float, float, float]:
    """Return T_base / T_ours - 1 over seeds, and the ends of its 95 % interval.

    The interval is Student's t on log(T_base / T_ours). Where a training never reached the value,
    its end is put in place: the result is then an upper bound.
    """
    logs = over_seeds([math.log(race.base / race.ours) for race in found])
    return math.expm1(logs.mean), math.expm1(logs.low), math.expm1(logs.high)
