"""The watch over Gradient Agreement speaks once, late enough, and only when there is cause."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import metaccord as mc
from metaccord.watch import LIMIT


def record(step: int, stretch: object) -> SimpleNamespace:
    numbers = {} if stretch is None else {"agreement.stretch": stretch}
    numbers |= {"agreement.weights": [0.25] * 4} if numbers else {}
    return SimpleNamespace(step=step, numbers=numbers)


def spoken(values: list[object]) -> tuple[list[int], mc.Watch]:
    watch = mc.Watch()
    return [i for i, v in enumerate(values, 1) if watch(record(i, v))], watch


def test_a_collapse_is_told_once() -> None:
    steps, watch = spoken([4 * LIMIT] * 1500)
    assert steps == [500]
    assert watch.message is not None
    assert "from step 500" in watch.message
    assert "lower outer.lr" in watch.message
    assert "\n" not in watch.message


def test_health_is_silent() -> None:
    for values in ([3.0] * 3000, [0.0] * 600, [None] * 1000, [[9.0, 9.0]] * 1000):
        steps, watch = spoken(values)
        assert steps == []
        assert watch.message is None


def test_a_passing_peak_is_forgiven_and_a_slow_onset_is_found() -> None:
    peak = [3.0] * 800 + [20.0] * 30 + [3.0] * 800
    assert spoken(peak)[0] == []
    onset = [3.0] * 1000 + [9.0] * 1000
    (step,) = spoken(onset)[0]
    assert 1000 < step < 1600


def test_the_level_is_a_geometric_running_mean() -> None:
    _, watch = spoken([4.0, 4.0, 4.0])
    assert watch.level == pytest.approx(0.6931471805599453)


def test_a_training_feeds_it() -> None:
    """The number that it reads is there, under that name, as a float."""
    goal = mc.Objective(mc.models.MLP(hidden=(4,)), mc.losses.mse, mc.Plan(chunk="all"))
    method = mc.methods.gradient_agreement(mc.methods.reptile(steps=2))
    watch = mc.Watch()
    for found in mc.train(method, goal, mc.tasks.Sinusoid(), steps=2, num_tasks=3):
        assert not watch(found)
    assert watch.seen == 2
