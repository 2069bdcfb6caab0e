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
        base, ours: Meta-steps (or seconds) until the value was reached.
        reached: Whether ours did; otherwise ``ours`` is where it ended, a lower bound.
    """

    base: float
    ours: float
    reached: bool


def smoothed(curve: Curve, window: int = 3) -> Curve:
    """Return the curve with the mean of the last ``window`` values in place of each."""
    found = []
    for i, (step, seconds, _) in enumerate(curve):
        last = [value for _, _, value in curve[max(0, i + 1 - window) : i + 1]]
        found.append((step, seconds, sum(last) / len(last)))
    return found


def reach(curve: Curve, target: float, *, more: bool) -> tuple[int, float] | None:
    """Return meta-step and seconds at which the value first is as good as the target.

    Args:
        curve: Smoothed.
        target: The value.
        more: Whether more is better.
    """
    for step, seconds, value in curve:
        if value >= target if more else value <= target:
            return step, seconds
    return None


def races(base: list[Curve], ours: list[Curve], *, more: bool, seconds: bool) -> list[Race]:
    """Let each pair of trainings run to the smoothed value that the base ends with.

    Args:
        base, ours: One curve per seed, in the same order.
        more: Whether more is better.
        seconds: Count seconds instead of meta-steps.
    """
    found = []
    for one, other in zip(map(smoothed, base), map(smoothed, ours), strict=True):
        target = one[-1][2]
        start = reach(one, target, more=more)
        assert start is not None  # its last value reaches it
        end = reach(other, target, more=more)
        last = other[-1]
        found.append(Race(start[seconds], (end or last[:2])[seconds], end is not None))
    return found


def acceleration(found: list[Race]) -> tuple[float, float, float]:
    """Return T_base / T_ours - 1 over seeds, and the ends of its 95 % interval.

    The interval is Student's t on log(T_base / T_ours). Where a training never reached the value,
    its end is put in place: the result is then an upper bound.
    """
    logs = over_seeds([math.log(race.base / race.ours) for race in found])
    return math.expm1(logs.mean), math.expm1(logs.low), math.expm1(logs.high)
