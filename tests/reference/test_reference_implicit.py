"""The twin of iMAML against algebra, Newton's method and finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from tests import tolerances
from tests.reference import family, implicit, loops, quadratics
from tests.reference.checks import (
    DIM,
    LR,
    MODEL,
    NET,
    STEPS,
    THETA,
    along,
    close,
    draw,
    far,
    waves,
)
from tests.reference.modules import mean_value, quadratic_data, quadratic_task, split


@pytest.mark.parametrize("damping, shift", [(0.0, 0.0), (1.0, 10.0)])
def test_imaml(damping: float, shift: float) -> None:
    """Textbook and damped system, dense and by d conjugate gradients, at the exact solution."""
    tasks, data, theta = draw(7)
    params = split(MODEL, theta)
    extra: dict[str, Any] = {"damping": damping, "shift": shift}
    solutions = [family.proximal_solution(task, theta, 2.0) for task in tasks]
    adapted = [split(MODEL, w) for w in solutions]
    for iterations in (None, DIM):
        rows = implicit.imaml_rows(
            MODEL, mean_value, params, adapted, data, 2.0, iterations=iterations, **extra
        )
        for row, task, w in zip(rows, tasks, solutions, strict=True):
            close(row, family.imaml(task, w, 2.0, **extra))
    (few,) = implicit.imaml_rows(
        MODEL, mean_value, params, adapted[:1], data[:1], 2.0, iterations=1, **extra
    )
    system = (1 + damping) * np.eye(DIM) + tasks[0].a_s / (2.0 + shift)
    q = quadratics.query_gradient(tasks[0], solutions[0])
    close(few, (q @ q) / (q @ system @ q) * q)  # the first direction is q itself


def test_imaml_of_a_part() -> None:
    """Tensors that stand still: direct gradient, or exact with the cross term."""
    tasks, data, theta = draw(8)
    params, still = split(MODEL, theta), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    pairs = [family.imaml_part(task, theta, 0.02, still) for task in tasks]
    adapted = [split(MODEL, w) for w, _ in pairs]
    common: dict[str, Any] = {"moves": lambda name: name == "parts.0"}
    exact = implicit.imaml_rows(
        MODEL, mean_value, params, adapted, data, 0.02, cross=True, **common
    )
    direct = implicit.imaml_rows(MODEL, mean_value, params, adapted, data, 0.02, **common)
    for i, (w, row) in enumerate(pairs):
        close(exact[i], row)
        close(direct[i]["parts.0"], row[:2])
        close(direct[i]["parts.1"], quadratics.query_gradient(tasks[i], w)[2:])
        far({"s": direct[i]["parts.1"]}, {"s": exact[i]["parts.1"]})


def test_imaml_without_freedom() -> None:
    """lambda -> infinity, no curvature, nothing moves: the gradient of L_Q where it stands."""
    tasks, data, theta = draw(9)
    params = split(MODEL, theta)
    q = quadratics.query_gradient(tasks[0], theta)
    flatland = quadratic_task(tasks[0]._replace(a_s=np.zeros((DIM, DIM))), STEPS)
    for task, strength, moves in [
        (data[0], 1e14, loops.always),
        (flatland, 2.0, loops.always),
        (data[0], 2.0, lambda name: False),
    ]:
        (row,) = implicit.imaml_rows(
            MODEL, mean_value, params, [params], [task], strength, moves=moves, cross=True
        )
        close(row, q)


@pytest.mark.parametrize("every_step", [True, False])
def test_proximal_descent(every_step: bool) -> None:
    """K steps on L_S + lambda/2 |t - theta|^2, or K plain ones and one on the pull alone."""
    (task, *_), (data, *_), theta = draw(10)
    params = split(MODEL, theta)
    path = implicit.proximal_adapt(
        MODEL, mean_value, params, data.batches, LR, 0.7, every_step=every_step
    )
    if every_step:
        pulled = task._replace(a_s=task.a_s + 0.7 * np.eye(DIM), b_s=task.b_s + 0.7 * theta)
        for k, point in enumerate(path):
            close(point, quadratics.adapted(pulled, theta, LR, k))
    else:
        w = quadratics.adapted(task, theta, LR, STEPS)
        close(path[-2], w)
        close(path[-1], w - LR * 0.7 * (w - theta))
    assert len(path) == STEPS + 1 + (not every_step)


@pytest.mark.parametrize("every_step", [True, False])
def test_proximal_descent_of_a_part(every_step: bool) -> None:
    """What stands still keeps its bits; without strength it is the plain inner loop."""
    _, (data, *_), theta = draw(11)
    params = split(MODEL, theta)
    common: dict[str, Any] = {"moves": lambda name: name == "parts.0"}
    end = implicit.proximal_adapt(
        MODEL, mean_value, params, data.batches, LR, 0.0, every_step=every_step, **common
    )[-1]
    plain = loops.adapt(MODEL, mean_value, params, data.batches, LR, create_graph=False, **common)
    close(end, plain.path[-1])
    assert torch.equal(end["parts.1"], params["parts.1"])


def test_logistic_regression() -> None:
    """Long proximal descent finds Newton's solution; the row is that of the dense solve."""
    rng = np.random.default_rng(12)
    x, theta = rng.standard_normal((30, 4)), rng.standard_normal(4)
    y = (x @ rng.standard_normal(4) > 0).astype(np.float64)
    support, query = (x[:18], y[:18]), (x[18:], y[18:])
    w, row = family.logistic_imaml(support, query, theta, 0.5)
    model = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    params = {"weight": torch.from_numpy(theta).reshape(1, 4)}
    batch, last = (
        (torch.from_numpy(inputs), torch.from_numpy(labels).reshape(-1, 1))
        for inputs, labels in (support, query)
    )
    loss = binary_cross_entropy_with_logits
    end = implicit.proximal_adapt(model, loss, params, [batch] * 120, 0.8, 0.5)[-1]
    close(end, w)
    (found,) = implicit.imaml_rows(model, loss, params, [end], [loops.Task([batch], last)], 0.5)
    close(found, row)


@pytest.mark.parametrize("moves", [loops.always, lambda name: name.startswith("3.")])
def test_imaml_equals_central_differences(moves: Any) -> None:
    """The query loss at the proximal solution as a function of theta, cross term included."""
    task, strength = waves()[0], 20.0  # above the negative curvature

    def solve(theta: loops.Params) -> loops.Params:
        return implicit.proximal_adapt(
            NET, mse_loss, theta, task.batches * 40, 0.02, strength, moves=moves
        )[-1]

    def value(v: loops.Params, h: float) -> float:
        theta = {name: THETA[name] + h * v[name] for name in THETA}
        assert task.query is not None
        return loops.loss_at(NET, mse_loss, solve(theta), task.query).item()

    (row,) = implicit.imaml_rows(
        NET, mse_loss, THETA, [solve(THETA)], [task], strength, moves=moves, cross=True
    )
    along(row, value)


def test_conjugate_gradients() -> None:
    """The residual falls to rounding within d steps and stays there; b = 0 gives zero."""
    rng = np.random.default_rng(13)
    matrix, b = quadratics.random_matrix(rng, 8, 10.0), rng.standard_normal(8)
    errors = [
        np.linalg.norm(matrix @ implicit.conjugate_gradients(matrix.__matmul__, b, n) - b)
        for n in (0, 3, 8, 500)
    ]
    assert errors[0] == np.linalg.norm(b)
    assert errors[1] > 1e-3
    assert max(errors[2:]) <= tolerances.TWIN_F64 * errors[0] * 10  # times the condition
    assert not implicit.conjugate_gradients(matrix.__matmul__, np.zeros(8), 5).any()


def test_the_hessian_of_a_quadratic_is_its_matrix() -> None:
    """All entries, over both tensors; a linear loss has none."""
    (task, *_), _, theta = draw(14)
    params = loops.leaves(split(MODEL, theta))
    hessian = implicit.support_hessian(
        MODEL, mean_value, params, quadratic_data(task.a_s, task.b_s)
    )
    close(hessian, task.a_s)
    line, x = nn.Linear(2, 1), torch.ones(3, 2)
    at = loops.leaves(dict(line.named_parameters()))
    assert not implicit.support_hessian(line, mean_value, at, (x, None)).any()
