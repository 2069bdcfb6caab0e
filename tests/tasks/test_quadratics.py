"""The world with closed-form answers: the engine must give them, and training must find them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.learner import adapt
from metaccord.serial import build_model
from tests import tolerances

LR, K = 0.05, 4


@pytest.fixture
def world():
    tasks = mc.tasks.Quadratics(dim=5, condition=8.0)
    objective = mc.Objective(mc.tasks.Point(5).double(), mc.tasks.mean_height, mc.Plan(chunk="all"))
    method = mc.methods.maml(K, LR)
    return tasks, objective, method, mc.initialise(method, objective, seed=3)


def test_the_bowls_have_the_condition_that_was_asked_for():
    _, metrics = mc.tasks.Quadratics(dim=6, condition=30.0).bowls("train", 0, range(4))
    values = np.linalg.eigvalsh(metrics)
    assert np.allclose(values[:, 0], 1.0)
    assert np.allclose(values[:, -1], 30.0)


def test_adapted_weights_and_meta_gradients_are_the_closed_forms(world):
    tasks, objective, method, state = world
    episodes = tasks.episodes("train", 7, range(6))
    weight = state.params["model.weight"].numpy()
    step = mc.meta_gradient(method, objective, state, episodes)
    rows = tasks.meta_gradients(weight, LR, K, "train", 7, range(6))
    found = step.rows["model.weight"].numpy()
    assert np.linalg.norm(found - rows) <= tolerances.CLOSED_FORM_F64 * np.linalg.norm(rows)
    adapted = tasks.adapted(weight, LR, K, "train", 7, range(6))
    run = adapt(method, objective, state, episodes)
    moved = run.adapted["weight"].numpy()
    assert np.linalg.norm(moved - adapted) <= tolerances.CLOSED_FORM_F64 * np.linalg.norm(adapted)


def test_the_meta_gradient_vanishes_at_the_optimum_only(world):
    tasks, objective, method, state = world
    best = torch.from_numpy(tasks.optimum(LR, K, "train", 0, range(9)))
    episodes = tasks.episodes("train", 0, range(9))
    there = state._replace(params={"model.weight": best})
    assert mc.meta_gradient(method, objective, there, episodes).grads["model.weight"].norm() < 1e-12
    assert mc.meta_gradient(method, objective, state, episodes).grads["model.weight"].norm() > 1e-3


def test_training_finds_the_optimum(world):
    """Fixed tasks: every meta-step sees the same bowls, so the optimum is exact."""
    tasks, objective, method, _ = world

    class Fixed(mc.tasks.Quadratics):
        def episodes(self, split, step, chosen):
            return super().episodes(split, 0, chosen)

    outer = mc.Outer(optimizer="sgd", lr=0.2)
    fixed = Fixed(dim=5, condition=8.0)
    *_, record = mc.train(method, objective, fixed, steps=600, num_tasks=9, outer=outer)
    best = tasks.optimum(LR, K, "train", 0, range(9))
    assert np.allclose(record.state.params["model.weight"].numpy(), best, atol=1e-8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"dim": 0}, "tasks.dim"), ({"condition": 0.5}, "condition"), ({"shots": 2}, "one bowl")],
)
def test_bad_worlds_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        mc.tasks.Quadratics(**wrong)


def test_a_model_without_numbers_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal needs its shapes alone, and drawing there costs more than a second of imports."""
    monkeypatch.setattr(torch.nn.init, "normal_", lambda *given: pytest.fail("it draws"))
    with torch.device("meta"):
        assert build_model({"class": "Point"}).weight.shape == (8,)
