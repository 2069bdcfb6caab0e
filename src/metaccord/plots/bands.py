"""Means and 95 % bands of several runs, and running means; NaN stays visible, never spreads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metaccord.statistics import over_seeds, over_tasks


class Band(NamedTuple):
    """A curve with its uncertainty; NaN where nothing finite was measured.

    Attributes:
        mean: ``[points]``.
        low: ``[points]``, NaN where there is no interval.
        high: ``[points]``, NaN where there is no interval.
        lost: Runs (or tasks) that are not finite at some point; left out there.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lost: int


def band(values: np.ndarray, *, seeds: bool = True) -> Band:
    """Return mean and 95 % interval of each column.

    Args:
        values: One row per seed (or per task), ``[rows, points]``.
        seeds: Student's t over few seeds; otherwise the normal law over many tasks.
    """
    found = np.full((3, values.shape[1]), np.nan)
    for i, column in enumerate(values.T):
        finite = column[np.isfinite(column)].tolist()
        if len(finite) == 1:
            found[0, i] = finite[0]
        elif finite:
            interval = over_seeds(finite) if seeds else over_tasks(finite)
            found[:, i] = interval.mean, interval.low, interval.high
    lost = int((~np.isfinite(values)).any(1).sum())
    return Band(found[0], found[1], found[2], lost)


def running_mean(steps: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """Return at each step the mean of the finite values of the last ``window`` meta-steps.

    Args:
        steps: Ascending meta-steps, ``[points]``; they may be spaced unevenly.
        values: ``[points]``.
        window: Width, meta-steps: the mean at s is over (s - window, s].
    """
    good = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(good)])
    start = np.searchsorted(steps, steps - window, side="right")
    stop = np.arange(1, len(steps) + 1)
    number = count[stop] - count[start]
    return np.where(number > 0, (total[stop] - total[start]) / np.maximum(number, 1), np.nan)
