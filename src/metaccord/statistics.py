"""Intervals: over tasks by the normal law, over few seeds by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metaccord.errors import UsageError

_T975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


class Interval(NamedTuple):
    """A mean and the half-width of its 95 % interval, in the unit of the values."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.half:.2g}"

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half


def over_tasks(values: Sequence[float]) -> Interval:
    """Return mean and 1.96 standard errors over many independent tasks."""
    x = np.asarray(values, dtype=float)
    return _interval(x, 1.96)


def over_seeds(values: Sequence[float]) -> Interval:
    """Return mean and Student's t interval over few independent runs.

    For a paired comparison pass the differences.

    Raises:
        UsageError: for fewer than two values.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        raise UsageError(f"an interval over seeds needs at least 2 seeds, found {len(x)}")
    return _interval(x, t_quantile(len(x) - 1))


def _interval(x: np.ndarray, factor: float) -> Interval:
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so
        return Interval(float(x.mean()), factor * float(x.std(ddof=1)) / math.sqrt(len(x)))


def t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t (beyond 30 degrees by expansion, to 1e-4)."""
    if degrees <= len(_T975):
        return _T975[degrees - 1]
    z, n = 1.959963984540054, float(degrees)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)
