"""Intervals against the textbook and scipy."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from metaccord.errors import UsageError
from metaccord.statistics import (
    Interval,
    apart,
    over_seeds,
    over_seeds_and_tasks,
    over_tasks,
    p_of_tasks,
    p_value,
    t_quantile,
)

VALUES = [0.25, 1.5, -2.0, 4.0, 3.0]


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 120, 1000])
def test_quantiles_are_those_of_student(degrees: int) -> None:
    expected = stats.t.ppf(0.975, degrees)
    bound = 5e-5 if degrees <= 30 else 4 / degrees**3  # a table of four digits, an expansion
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


SEEDS = np.array([0.5, -1.0, 2.5])
TASKS = np.array([1.0, 4.0, -3.0, 2.0])


def test_new_seeds_and_new_tasks_add_their_variances() -> None:
    """Of a table that is a sum of an effect of the seed and one of the task."""
    found = over_seeds_and_tasks(SEEDS[:, None] + TASKS)
    alone, shared = over_seeds(SEEDS), over_tasks(TASKS)
    assert found.mean == pytest.approx(alone.mean + shared.mean, rel=1e-14)
    assert found.half == pytest.approx(math.hypot(alone.half, shared.half), rel=1e-14)


@pytest.mark.parametrize("size", [0.1, 0.4, 3.0])
def test_what_seeds_and_tasks_do_to_each_other_is_no_effect_of_tasks(size: float) -> None:
    """A product of centred effects has the mean square var(a) var(b), which is subtracted."""
    own, other = size * (SEEDS - SEEDS.mean()), np.array([1.0, -1.0, 1.0, -1.0])
    found = over_seeds_and_tasks(SEEDS[:, None] + TASKS + own[:, None] * other)
    left = 3 * TASKS.var(ddof=1) - own.var(ddof=1) * other.var(ddof=1)
    assert (left < 0) == (size == 3.0), "then tasks add nothing"
    expected = math.hypot(over_seeds(SEEDS).half, 1.96 * math.sqrt(max(left, 0.0) / 12))
    assert found.half == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), (2, 3, 4), ()])
def test_a_table_has_two_axes_of_two(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="at least 2 of each"):
        over_seeds_and_tasks(np.ones(shape))


def test_independent_means_lie_apart() -> None:
    assert apart(Interval(2.0, 3.0), Interval(7.0, 4.0)) == Interval(-5.0, 5.0)


def test_values_that_are_all_the_same_leave_no_doubt() -> None:
    assert p_value([2.0, 2.0, 2.0]) == 0.0
    assert p_value([0.0, 0.0, 0.0]) == 1.0
    assert p_of_tasks([2.0, 2.0, 2.0]) == 0.0
    assert p_of_tasks([0.0, 0.0, 0.0]) == 1.0


def test_p_values_are_those_of_student_and_of_the_normal_law() -> None:
    assert p_value(VALUES) == pytest.approx(stats.ttest_1samp(VALUES, 0).pvalue, rel=1e-12)
    z = statistics.mean(VALUES) / (statistics.stdev(VALUES) / math.sqrt(len(VALUES)))
    assert p_of_tasks(VALUES) == pytest.approx(2 * stats.norm.sf(z), rel=1e-12)
    assert p_of_tasks([-v for v in VALUES]) == pytest.approx(2 * stats.norm.sf(z), rel=1e-12)
