"""Correlations: against scipy, and laws that hold whatever the numbers are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metaccord.correlation import pearson, spearman


def columns(count: int, seed: int = 0) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=count)
    return x.tolist(), (0.6 * x + draw.normal(size=count)).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_values_and_pearsons_interval_are_scipys(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = columns(17, seed)
    y[3] = y[5] = y[7]  # ties
    expected = stats.pearsonr(x, y)
    found = pearson(x, y)
    assert found.value == pytest.approx(expected.statistic, abs=1e-12)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_units_and_monotone_changes_do_not_matter() -> None:
    x, y = columns(12)
    moved = [1e200 * a - 1e190 for a in x]
    assert pearson(moved, y) == pytest.approx(pearson(x, y), rel=1e-9)
    assert spearman([math.exp(a) for a in x], y) == spearman(x, y)
    flipped = pearson(x, [-b for b in y])
    found = pearson(x, y)
    assert (flipped.value, flipped.low, flipped.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_the_interval_covers_what_it_says(measure) -> None:
    """Independent normal columns: 0 lies inside in about 95 of 100 samples."""
    draw = np.random.default_rng(1)
    tables = draw.normal(size=(2000, 2, 10))
    found = [measure(x.tolist(), y.tolist()) for x, y in tables]
    inside = np.mean([f.low <= 0 <= f.high for f in found])
    assert 0.93 <= inside <= 0.965


def test_what_cannot_be_told_is_not_a_number() -> None:
    for two in (pearson([1.0, 2.0], [3.0, 4.0]), pearson([1.0] * 9, list(range(9)))):
        assert math.isnan(two.value)
        assert math.isnan(two.low)
        assert str(two) == "–"
    three = pearson([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    assert not math.isnan(three.value)
    assert math.isnan(three.low)
    perfect = spearman([1.0, 2.0, 3.0, 9.0, 11.0], [5.0, 4.0, 3.0, 2.0, 1.0])
    assert (perfect.value, str(perfect)) == (-1.0, "-1.00")
    assert math.isnan(perfect.low), "an interval of width 0 would claim certainty"


def test_pairs_that_are_not_finite_are_left_out() -> None:
    x, y = columns(8)
    holes = pearson([math.nan, *x, 1.0], [1.0, *y, math.inf])
    assert holes == pearson(x, y)
    assert holes.points == 8
