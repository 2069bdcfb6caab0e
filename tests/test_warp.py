"""WarpGrad against its loops and algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord import tree
from metaccord.estimators import Warp
from metaccord.methods import maml, warp
from metaccord.types import Batch, Episode, MetaState
from tests import cases, tolerances
from tests.reference import family, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import mean_value
from tests.reference.warp import warp_rows
from tests.warping import LAYERS, LR, method_of, problem, started, warps

ORDERS = pytest.mark.parametrize("first_order", [False, True])


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_equal_the_slow_twin(name: str, ahead: bool, start: bool) -> None:
    """Warp layers away from the identity; mini-batches, so that each state has its own."""
    method = method_of(name, start=start, ahead=ahead, batch=4)
    goal, found = problem(name)
    state = started(method, goal)
    rows = warp_rows(
        goal.model, goal.criterion, tree.scope(state.params, "model"),
        cases.twin_tasks(method, found), LR, warps=lambda key: warps(name, key),
        first_order=ahead, first_order_start=start,
    )  # fmt: skip
    step = mc.meta_gradient(method, goal, state, found)
    expected = cases.stacked(rows)
    assert relative_error(cases.model_rows(step.rows), expected) <= tolerances.TWIN_F64
    phi = {k: v for k, v in expected.items() if warps(name, k)}
    mine = {k: step.rows[f"model.{k}"] for k in phi}
    assert relative_error(mine, phi) <= tolerances.TWIN_F64
    assert all(v.flatten(1).any(1).all() for v in mine.values())


def test_the_readings_are_told_apart() -> None:
    """First order of either part, and MAML's own rows of what stays."""
    goal, found = problem("MLP")
    state = started(method_of("MLP"), goal)
    methods = [method_of("MLP", start=s, ahead=a) for s in (False, True) for a in (False, True)]
    methods.append(maml(steps=2, lr=LR, never=("warp",)))
    rows = [mc.meta_gradient(m, goal, state, found).rows for m in methods]
    for i, one in enumerate(rows):
        for other in rows[:i]:
            assert relative_error(one, other) > 1e-3
    assert warp(first_order=True).estimator == Warp(first_order=True, lookahead_first_order=True)


class Linear(nn.Module):
    """The quadratic of y = W theta: task tensor ``theta`` [e], warp tensor ``warp`` [d, e]."""

    def __init__(self, outer: int, inner: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(inner, dtype=torch.float64))
        self.warp = nn.Parameter(torch.zeros(outer, inner, dtype=torch.float64))

    def forward(self, matrix: Tensor, vector: Tensor) -> Tensor:
        y = self.warp @ self.theta
        return (y * (matrix @ y)).sum(-1) / 2 - (vector * y).sum(-1)


@ORDERS
@pytest.mark.parametrize("steps", [1, 4])
def test_a_linear_warp_equals_algebra(steps: int, first_order: bool) -> None:
    """The preconditioner W W^T in y, the lookahead's gradient by W, and where the path ends."""
    rng = np.random.default_rng(steps)
    tasks = [quadratics.random_quadratic(rng, 5, 50.0) for _ in range(6)]
    theta, matrix = rng.standard_normal(4), rng.standard_normal((5, 4)) / 2

    def batch(a: str, b: str) -> Batch:
        found = (np.stack([getattr(task, k) for task in tasks])[:, None] for k in (a, b))
        nothing = torch.zeros(len(tasks), 1, dtype=torch.float64)
        return Batch(tuple(map(torch.from_numpy, found)), nothing)

    method = warp(steps=steps, lr=LR, first_order=first_order)
    goal = mc.Objective(Linear(5, 4), mean_value, mc.Plan(chunk="all"))
    start = {"model.theta": torch.from_numpy(theta), "model.warp": torch.from_numpy(matrix)}
    found = Episode(batch("a_s", "b_s"), batch("a_q", "b_q"))
    step = mc.meta_gradient(method, goal, MetaState(start, {}), found)
    closed = {
        "model.theta": [
            family.warp_start(t, theta, matrix, LR, steps, first_order=first_order) for t in tasks
        ],
        "model.warp": [
            family.warp_objective(t, theta, matrix, LR, steps, first_order=first_order)
            for t in tasks
        ],
    }
    expected = {k: torch.from_numpy(np.stack(v)) for k, v in closed.items()}
    assert relative_error(step.rows, expected) <= tolerances.CLOSED_FORM_F64
    w = torch.from_numpy(matrix @ theta)
    for _ in range(steps):  # plain steps in y under the preconditioner
        slopes = torch.stack([torch.from_numpy(t.a_s @ y.numpy() - t.b_s) for t, y in zip(
            tasks, w.expand(len(tasks), 5), strict=True)])  # fmt: skip
        w = w - LR * slopes @ torch.from_numpy(matrix @ matrix.T)
    reached = step.run.solution["theta"] @ torch.from_numpy(matrix).T
    assert relative_error(reached, w) <= tolerances.CLOSED_FORM_F64


def test_by_default_nothing_is_of_first_order() -> None:
    whole = Warp(first_order=False, lookahead_first_order=False)
    assert warp().estimator == Warp() == whole
