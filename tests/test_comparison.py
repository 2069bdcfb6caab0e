"""Comparisons by hand, their refusals, and the coverage of every interval by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.statistics import (
    Interval,
    holm,
    over_seeds,
    over_seeds_and_tasks,
    over_tasks,
    p_of_tasks,
    p_value,
)

FACTS = (("ways", 5), ("shots", 1), ("queries", 15))


def scores(
    last: Any, *, digest: str = "d", share: bool = False, facts: Any = FACTS, **protocol: Any
) -> mc.Scores:
    """Scores of one run whose values after the last step are given."""
    column = torch.as_tensor(np.asarray(last, dtype=float))
    found = mc.Protocol(tasks=len(column), **protocol)
    where = mc.EpisodeSet("Blobs", facts, found.split, found.seed, found.tasks, digest * 64)
    curve = torch.stack([torch.full_like(column, 9.0), column], 1)
    return mc.Scores(found, (0, 1), curve, curve if share else None, where)


def test_over_seeds_by_hand() -> None:
    """Gaps of the seed means 1, 2 and 6: mean 3, t(2) = 4.3027, deviation sqrt(7)."""
    base = [scores([1.0, 3.0]), scores([0.0, 0.0]), scores([2.0, 2.0])]
    ours = [scores([2.0, 4.0]), scores([1.0, 3.0]), scores([9.0, 7.0])]
    found = mc.compare(ours, base, names=("a", "b"))
    assert found.difference.mean == pytest.approx(3.0)
    assert found.difference.half == pytest.approx(4.3027 * math.sqrt(7) / math.sqrt(3), rel=1e-4)
    assert found.p == pytest.approx(stats.ttest_1samp([1, 2, 6], 0).pvalue, rel=1e-12)
    assert (found.seeds, found.tasks, found.over, found.paired) == (3, 2, "seeds", True)
    assert found.within == tuple(map(over_tasks, ([1, 1], [1, 3], [7, 5])))
    assert not found.clear
    assert found.points is None
    assert "+3 ± 6.6, paired, 3 seeds of 2 tasks, p = 0.19" in str(found)


def test_over_tasks_by_hand() -> None:
    """Gaps 1, 2, 3, 6, although both columns vary far more."""
    found = mc.compare(scores([11.0, -48.0, 93.0, 6.0]), scores([10.0, -50.0, 90.0, 0.0]))
    assert found.difference.mean == pytest.approx(3.0)
    assert found.difference.half == pytest.approx(1.96 * np.std([1, 2, 3, 6], ddof=1) / 2)
    assert found.p == pytest.approx(2 * stats.norm.sf(3 / (found.difference.half / 1.96)))
    assert found.clear
    assert found.anew is None


def test_accuracies_are_shown_in_points() -> None:
    found = mc.compare(
        scores([0.5, 0.75, 1.0], share=True), scores([0.25, 0.5, 1.0], share=True), names=("a", "b")
    )
    assert found.quantity == "accuracy"
    assert found.points.mean == pytest.approx(100 / 6)
    text = str(found).splitlines()
    assert text[0].split()[:2] == ["accuracy,", "%"]
    assert text[1].split()[:2] == ["a", "75.00"]
    assert "+16.67 ± 16.33 points, paired, 3 tasks of one seed, p = 0.046 *" in text[3]
    assert "Blobs 5-way 1-shot 15-query, episodes dddddddddddd" in text[-1]
    assert found.json()["points"]["mean"] == pytest.approx(100 / 6)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"statistics": "frozen"}, "statistics: transductive or frozen"),
        ({"split": "validation"}, "split: test or validation"),
        ({"seed": 1}, "seed: 0 or 1"),
        ({"branch": "colearner"}, "branch: model or colearner"),
        ({"permutations": 2}, "permutations: 1 or 2"),
        ({"facts": (("ways", 5), ("shots", 5), ("queries", 15))}, "shots: 1 or 5"),
        ({"digest": "e"}, "the data changed, episodes: dddddddddddd or eeeeeeeeeeee"),
    ],
)
def test_different_protocols_are_refused_unless_asked_for(other: dict[str, Any], word: str) -> None:
    base, ours = scores([1.0, 2.0]), scores([1.5, 2.0], **other)
    with pytest.raises(UsageError, match="different protocols") as caught:
        mc.compare(ours, base)
    first, _, second = word.partition(" or ")
    assert first in str(caught.value) or second in str(caught.value)
    found = mc.compare(base, ours, different_protocols=True)
    assert found.differs == (word,)
    assert all(line.endswith("[different protocols]") for line in str(found).splitlines())
    assert found.paired == ("digest" not in other)
    for swapped in ([base, ours], [ours, base]):
        with pytest.raises(UsageError, match="measured in different ways"):
            mc.compare(swapped, [base, base], different_protocols=True)


def test_unpaired_numbers_have_a_wider_interval() -> None:
    a, b = [1.0, 2.0, 3.0], [0.0, 1.0, 2.5]
    apart = mc.compare(scores(a), scores(b, digest="e"), different_protocols=True)
    assert apart.difference.half == pytest.approx(
        math.hypot(over_tasks(a).half, over_tasks(b).half)
    )
    assert math.isnan(apart.p)
    assert apart.difference.half > mc.compare(scores(a), scores(b)).difference.half
    assert "not paired" in str(apart)


def test_steps_belong_to_the_method() -> None:
    assert mc.compare(scores([1.0, 2.0], steps=3), scores([1.0, 2.0], steps=1)).difference.mean == 0


def unknown() -> mc.Scores:
    return replace(scores([1.0, 2.0]), episodes=None)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: mc.compare([], scores([1.0, 2.0])), "no scores to compare"),
        (lambda: mc.compare([scores([1.0, 2.0])] * 2, scores([1.0, 2.0])), "has 2 seeds and"),
        (lambda: mc.compare(unknown(), unknown()), "the episodes are unknown"),
        (
            lambda: mc.compare(scores([1.0, 2.0], share=True), scores([1.0, 2.0])),
            "accuracies and losses",
        ),
        (
            lambda: mc.compare(scores([1.0, 2.0]), replace(scores([1.0, 2.0]), summary={})),
            "kept no single tasks",
        ),
    ],
)
def test_what_is_never_comparable(call: Callable[[], object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        call()


def test_holm_is_stricter_than_each_test_alone() -> None:
    """Of 0.01, 0.02, 0.04 and 0.3 the first alone is below 0.05 / 4; then 0.02 > 0.05 / 3."""
    p = {"a": 0.01, "b": 0.02, "c": 0.04, "d": 0.3}
    assert holm(p) == {"a"}
    assert holm({**p, "b": 0.016, "c": 0.024}) == {"a", "b", "c"}


def test_p_values_and_intervals_agree() -> None:
    draw = np.random.default_rng(3)
    for shift in (0.0, 0.05, 0.1, 0.2):
        x = draw.normal(shift, 1, 400)
        mean, half = over_tasks(x)
        assert (p_of_tasks(x) < 0.05) == (abs(mean) > half)
        y = draw.normal(10 * shift, 1, 4)
        mean, half = over_seeds(y)
        assert (p_value(y) < 0.05) == (abs(mean) > half)
    assert p_of_tasks([1.0, 1.0]) == 0
    assert p_of_tasks([0.0, 0.0]) == 1
    assert math.isnan(p_of_tasks([0.0, math.nan]))


# Coverage: 95 +- 1 %, the same check for each interval and for the planted defect.

Rule = Callable[[np.ndarray], Interval]


def coverage(rule: Rule, samples: np.ndarray, truth: np.ndarray | float) -> float:
    """Return how many intervals hold the truth."""
    found = np.array([rule(sample) for sample in samples])
    return float(np.mean(np.abs(found[:, 0] - truth) <= found[:, 1]))


def covers(rule: Rule, samples: np.ndarray, truth: np.ndarray | float = 0.0) -> bool:
    return abs(coverage(rule, samples, truth) - 0.95) <= 0.01


def accuracies(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Fractions of 75 right answers on tasks of uneven difficulty; 80 % on average."""
    return draw.binomial(75, draw.beta(8, 2, shape)) / 75


def bootstrap(sample: np.ndarray) -> Interval:
    """The percentile bootstrap of three seeds, its 27 resamples listed."""
    means = np.sort(np.array([*itertools.product(sample, repeat=3)]).mean(1))
    low, high = (means[math.ceil(share * 27) - 1] for share in (0.025, 0.975))
    return Interval((low + high) / 2, (high - low) / 2)


def test_the_interval_over_tasks_covers() -> None:
    assert covers(over_tasks, accuracies(np.random.default_rng(0), (5_000, 600)), 0.8)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_over_seeds_covers(seeds: int) -> None:
    assert covers(over_seeds, np.random.default_rng(seeds).normal(size=(20_000, seeds)))


def test_a_bootstrap_of_three_seeds_and_a_normal_law_do_not() -> None:
    """The same check refuses both; the bootstrap's ends are the smallest and largest seed."""
    samples = np.random.default_rng(3).normal(size=(10_000, 3))
    assert covers(over_seeds, samples)
    assert not covers(over_tasks, samples)
    assert not covers(bootstrap, samples)
    assert coverage(bootstrap, samples, 0.0) == pytest.approx(1 - 2 / 2**3, abs=0.015)


def crossed(seeds: int, repeats: int, *, by_task: float) -> tuple[np.ndarray, np.ndarray]:
    """Gaps of 2 points on average, ``[R, S, T]``, and their mean on these very tasks, ``[R]``."""
    draw = np.random.default_rng(seeds)
    tasks = 40
    shared = by_task * draw.normal(size=(repeats, 1, tasks))
    gaps = 0.02 + 0.01 * draw.normal(size=(repeats, seeds, 1)) + shared
    gaps = gaps + 0.05 * draw.normal(size=(repeats, seeds, tasks))
    return gaps, 0.02 + shared.mean((1, 2))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_paired_difference_covers(seeds: int) -> None:
    """Through the public function, from scores that share most of their spread."""
    gaps, truth = crossed(seeds, 4_000, by_task=0.03)
    if seeds == 1:  # the interval is over new tasks for this one run
        gaps = 0.02 + 0.06 * np.random.default_rng(1).normal(size=(4_000, 1, 200))
        truth = np.full(4_000, 0.02)
    common = np.random.default_rng(9).normal(0.5, 0.2, gaps.shape[1:])

    base = [scores(one) for one in common]

    def difference(gap: np.ndarray) -> Interval:
        curves = torch.from_numpy(common + gap)[..., None]
        ours = [replace(b, losses=curve) for b, curve in zip(base, curves, strict=True)]
        return mc.compare(ours, base).difference

    assert covers(difference, gaps, truth)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_seeds_alone_do_not_cover_new_tasks(seeds: int) -> None:
    """What the test tasks have in common moves all seeds alike; it must be added."""
    gaps, _ = crossed(seeds, 3_000, by_task=0.1)
    alone = coverage(lambda gap: over_seeds(gap.mean(1)), gaps, 0.02)
    anew = coverage(over_seeds_and_tasks, gaps, 0.02)
    assert alone < 0.91
    assert 0.94 <= anew <= 0.985


def test_the_interval_for_new_tasks_by_hand() -> None:
    """Without a common part it is the one over seeds; with nothing else, the one over tasks."""
    rows = np.array([[1.0, -1.0, 3.0], [2.0, 4.0, 0.0]])
    assert over_seeds_and_tasks(rows).half >= over_seeds(rows.mean(1)).half
    task = np.array([0.0, 1.0, 5.0])
    found = over_seeds_and_tasks(np.stack([task, task]))
    assert found == pytest.approx(over_tasks(task))
    for bad in (np.ones(3), np.ones((1, 3)), np.ones((3, 1))):
        with pytest.raises(UsageError, match="at least 2 of each"):
            over_seeds_and_tasks(bad)
