"""Intervals against the textbook and scipy."""

from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats

from metaccord.errors import UsageError
from metaccord.statistics import Interval, over_seeds, over_tasks, t_quantile

VALUES = [0.25, 1.5, -2.0, 4.0, 3.0]


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 120, 1000])
def test_quantiles_are_those_of_student(degrees: int) -> None:
    expected = stats.t.ppf(0.975, degrees)
    bound = 5e-5 if degrees <= 30 else 1e-4  # the table has four digits
    assert t_quantile(degrees) == pytest.approx(expected, rel=0, abs=bound)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_over_seeds(count: int) -> None:
    found, values = over_seeds(VALUES[:count]), VALUES[:count]
    assert found.mean == pytest.approx(statistics.mean(values), rel=1e-14)
    error = statistics.stdev(values) / math.sqrt(count)
    assert found.half == pytest.approx(stats.t.ppf(0.975, count - 1) * error, rel=5e-5)


def test_over_tasks() -> None:
    found = over_tasks(VALUES)
    assert found.mean == pytest.approx(1.35, rel=1e-14)
    assert found.half == pytest.approx(1.96 * statistics.stdev(VALUES) / math.sqrt(5), rel=1e-14)


def test_an_interval_has_two_ends() -> None:
    found = Interval(2.0, 0.5)
    assert (found.low, found.high) == (1.5, 2.5)
    assert str(Interval(1.23456, 0.0987)) == "1.235 ± 0.099"


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_seed_has_no_interval(values: list[float]) -> None:
    with pytest.raises(UsageError, match=f"at least 2 seeds, found {len(values)}"):
        over_seeds(values)
