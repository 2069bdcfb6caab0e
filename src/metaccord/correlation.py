"""How closely two columns of numbers go together, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Z = 1.959963984540054  # 97.5 % quantile of the normal law
_SURE = 1e-12  # closer to 1 than this, Fisher's z has no end


class Correlation(NamedTuple):
    """A correlation coefficient and its 95 % interval.

    Attributes:
        value: In [-1, 1]; NaN for fewer than 3 points or a column without variation.
        low, high: Ends of the interval; NaN for fewer than 4 points, or where the value is -1
            or 1, because Fisher's z has no interval there.
        points: Pairs of finite numbers.
    """

    value: float
    low: float
    high: float
    points: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        interval = "" if math.isnan(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.value:+.2f}{interval}"


def pearson(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Return the linear correlation of pairs; pairs that are not finite are left out.

    Args:
        x: One column.
        y: The other, of the same length.

    Reference:
        Interval: Fisher, Metron 1, 1921: artanh r is nearly normal with variance 1 / (n - 3). It
        takes the pairs as independent.

    Example:
        >>> str(pearson([0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 1.0, 0.0, 1.0]))
        '+0.00 [-0.88, +0.88]'
    """
    first, second = _finite(x, y)
    value = _coefficient(first, second)
    return _interval(value, len(first), 1.0)


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Return the correlation of ranks; ties share their mean rank.

    Args:
        x: One column.
        y: The other, of the same length.

    Reference:
        Interval: Bonett, Wright, Psychometrika 65, 2000: variance (1 + r^2 / 2) / (n - 3) of
        artanh r.

    Example:
        >>> spearman([1.0, 2.0, 30.0, 4.0], [1.0, 8.0, 9.0, 8.5])
        Correlation(value=1.0, low=nan, high=nan, points=4)
    """
    first, second = _finite(x, y)
    value = _coefficient(_ranks(first), _ranks(second))
    return _interval(value, len(first), 1 + value**2 / 2)


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    both = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    first, second = both[:, np.isfinite(both).all(0)]
    return first, second


def _coefficient(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    x, y = (column / np.abs(column).max() for column in (x, y))  # squares of 1e200 overflow
    x, y = x - x.mean(), y - y.mean()
    value = float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))
    return min(1.0, max(-1.0, value))


def _ranks(x: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    ranks: Any = np.cumsum(count) - (count - 1) / 2
    return ranks[place]


def _interval(value: float, points: int, scale: float) -> Correlation:
    """Return the interval by Fisher's z with variance ``scale / (points - 3)``."""
    if points < 4 or not abs(value) < 1 - _SURE:
        return Correlation(value, math.nan, math.nan, points)
    z, half = math.atanh(value), Z * math.sqrt(scale / (points - 3))
    return Correlation(value, math.tanh(z - half), math.tanh(z + half), points)
