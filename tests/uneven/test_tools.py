"""Uneven tasks under the microscope: curvature, trajectories, landscapes, pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.diagnostics.hessians import Hessians
from metaccord.diagnostics.landscape import plane
from metaccord.diagnostics.trajectory import measure
from metaccord.evaluate import isolated
from metaccord.methods import maml
from metaccord.types import Stacked
from tests import cases, tolerances
from tests.reference import curvature as slow
from tests.reference.compare import relative_error

METHOD = maml(steps=2, lr=0.2)
PLANS = pytest.mark.parametrize("chunk", [1, "all"])


def objective(chunk: Any) -> mc.Objective:
    return cases.objective("batchnorm2d", mc.Plan(chunk=chunk))


@PLANS
def test_hessians_equal_dense_ones_of_true_examples(chunk: Any) -> None:
    goal, found = objective(chunk), cases.uneven("batchnorm2d")
    params = {k: v.detach() for k, v in goal.trainable().items()}
    stack: Stacked = tree.expand(params, 4)
    vectors = torch.randn(4, 93, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = vectors[:, : sum(v.numel() for v in params.values())]
    seen = Hessians(goal, stack, {}, found.support)
    some = seen.only(torch.tensor([3, 1]))
    for task in range(4):
        data = cases.by_hand(found.support, task)
        dense = slow.dense_hessian(goal.model, goal.criterion, params, data, sorted(params))
        expected = dense @ vectors[task]
        assert relative_error(seen.product(vectors)[task], expected) <= 1e-10
        if task in (1, 3):
            rows = vectors[torch.tensor([3, 1])]
            image = some.product(rows)[[3, 1].index(task)]
            assert relative_error(image, expected) <= 1e-10


def test_trajectories_do_not_depend_on_the_plan() -> None:
    goal = objective(1)
    state, source, protocol = mc.initialise(METHOD, goal), cases.Ragged(), mc.Protocol(tasks=5)
    scores = [
        measure(METHOD, objective(chunk), state, source, protocol, curvature_tasks=3)
        for chunk in (1, "all")
    ]
    for one, other in zip(*scores, strict=True):
        if isinstance(one, tuple):
            assert tuple(one) == pytest.approx(tuple(other), rel=1e-6)
    plain = mc.evaluate(METHOD, goal, state, source, protocol)
    assert scores[0].target_loss.mean == pytest.approx(plain.loss.mean, rel=1e-12)


def test_landscapes_do_not_depend_on_the_plan_or_the_padding() -> None:
    goal, found = objective(1), cases.uneven("batchnorm2d", 2)
    state = mc.initialise(METHOD, goal)
    expected = plane(METHOD, goal, state, found, resolution=3)
    assert expected.support.isfinite().all() and expected.query.isfinite().all()
    together = plane(METHOD, objective("all"), state, found, resolution=3)
    assert relative_error(together.query, expected.query) <= tolerances.CHUNK_F64
    assert relative_error(together.support, expected.support) <= tolerances.CHUNK_F64


def test_the_picture_of_a_task_shows_its_own_classes_and_examples() -> None:
    from metaccord.plots.episode import episode

    goal, found = objective("all"), cases.uneven("batchnorm2d")
    run = isolated(METHOD, goal, mc.initialise(METHOD, goal), found)
    for task in range(4):
        drawn = episode(goal, run, task=task)
        text = " ".join(t.get_text() for t in drawn.findobj(lambda a: hasattr(a, "get_text")))
        size, ways = int(found.query.sizes[task]), int(found.query.ways[task])
        assert f"of {size} query pictures" in text
        assert f"{ways} classes" in text
