"""The twin of Gradient Agreement: closed forms and the laws that follow from its equations."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import tolerances
from tests.reference import loops, quadratics
from tests.reference.compare import relative_error
from tests.reference.modules import QuadraticModel, flat, mean_value, quadratic_task, split

MODEL = QuadraticModel(2, 3)


def weights(*vectors: Tensor) -> Tensor:
    """Weights of displacements ``[5]``, each given as tensors of two and three entries."""
    return loops.agreement_weights([{"a": v[:2], "b": v[2:]} for v in vectors])


def vectors(num_tasks: int, seed: int = 0) -> list[Tensor]:
    """Random displacements ``[5]``."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(num_tasks, 5, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("num_tasks", [1, 2, 4, 8])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("form", ["maml", "fomaml", "reptile"])
def test_step_equals_the_closed_form(form: str, steps: int, num_tasks: int) -> None:
    """Algorithm 1, lines 9 (both orders) and 10; the step is global over tensors."""
    rng = np.random.default_rng(num_tasks)
    tasks = [quadratics.random_quadratic(rng, 5, 50.0) for _ in range(num_tasks)]
    theta = rng.standard_normal(5)
    params, data = split(MODEL, theta), [quadratic_task(task, steps) for task in tasks]
    if form == "reptile":
        step = loops.agreement_step_reptile(MODEL, mean_value, params, data, 0.5)
        closed = quadratics.agreement_reptile(tasks, theta, 0.5, steps)
    else:
        first = form == "fomaml"
        step = loops.agreement_step_maml(MODEL, mean_value, params, data, 0.5, first_order=first)
        closed = quadratics.agreement_maml(tasks, theta, 0.5, steps, first_order=first)
    found = relative_error(flat(step), torch.from_numpy(closed))
    assert found <= tolerances.CLOSED_FORM_F64


def test_orders_and_plain_means_differ() -> None:
    """A swap of line 9's orders, of lines 9 and 10, or of agreement and its base is seen."""
    rng = np.random.default_rng(11)
    tasks = [quadratics.random_quadratic(rng, 5, 50.0) for _ in range(4)]
    theta = rng.standard_normal(5)
    params, data = split(MODEL, theta), [quadratic_task(task, 3) for task in tasks]
    means = [
        torch.stack([flat(row) for row in twin(MODEL, mean_value, params, data, 0.5)]).mean(0)
        for twin in (loops.maml_rows, loops.fomaml_rows, loops.reptile_rows)
    ]
    steps = [
        flat(loops.agreement_step_maml(MODEL, mean_value, params, data, 0.5)),
        flat(loops.agreement_step_maml(MODEL, mean_value, params, data, 0.5, first_order=True)),
        flat(loops.agreement_step_reptile(MODEL, mean_value, params, data, 0.5)),
    ]
    for a, b in permutations([*means, *steps], 2):
        assert relative_error(a, b) > tolerances.CLEARLY_DIFFERENT


@pytest.mark.parametrize("num_tasks", [2, 5, 16])
def test_weights_equal_the_matrix_form(num_tasks: int) -> None:
    """Double loop against G (G^T 1); sum |w| = 1; the signed sum is ||G^T 1||^2 / ||s||_1."""
    g = vectors(num_tasks)
    matrix = torch.stack(g)
    w = weights(*g)
    closed = torch.from_numpy(quadratics.agreement_weights(matrix.numpy()))
    assert relative_error(w, closed) <= tolerances.TWIN_F64
    assert abs(w.abs().sum().item() - 1) <= tolerances.TWIN_F64
    scores = matrix @ matrix.sum(0)
    signed = matrix.sum(0).square().sum() / scores.abs().sum()
    assert relative_error(w.sum(), signed) <= tolerances.TWIN_F64


def test_weights_of_special_tasks() -> None:
    """One task, identical tasks, orthogonal tasks; the weight grows with length."""
    (g,) = vectors(1)
    assert weights(g).tolist() == [1.0]
    even = torch.full((4,), 0.25, dtype=torch.float64)
    assert relative_error(weights(g, g, g, g), even) <= tolerances.TWIN_F64
    lengths = torch.arange(1.0, 6.0, dtype=torch.float64)
    orthogonal = weights(*torch.diag(lengths))
    expected = lengths.square() / lengths.square().sum()  # w_i = |g_i|^2 / sum |g|^2
    assert relative_error(orthogonal, expected) <= tolerances.TWIN_F64
    assert weights(g, g, -g)[2] < 0  # who disagrees is pushed away


def test_cancelling_tasks_are_uniform_in_every_order() -> None:
    """Opposite tasks, no displacement, and a, b, -(a + b), where rounding must not decide."""
    a, b = vectors(2)
    cases: list[tuple[Tensor, ...]] = [(a, -a), (0 * a, 0 * b), *permutations([a, b, -(a + b)])]
    for case in cases:
        assert weights(*case).tolist() == [1 / len(case)] * len(case)


@pytest.mark.parametrize("scale", [1e-9, 0.3, -2.0, 1e6])
def test_weights_ignore_a_common_scale(scale: float) -> None:
    """The inner rate cancels when all displacements scale alike."""
    g = vectors(5)
    assert relative_error(weights(*(scale * v for v in g)), weights(*g)) <= tolerances.TWIN_F64


def test_weights_follow_a_permutation() -> None:
    """Tasks have no order."""
    g, order = vectors(5), [3, 0, 4, 1, 2]
    permuted = weights(*(g[i] for i in order))
    assert relative_error(permuted, weights(*g)[order]) <= tolerances.TWIN_F64


@pytest.mark.parametrize("seed", range(20))
def test_reptile_form_never_opposes_the_mean(seed: int) -> None:
    """sum_i w_i g_i = C (sum_i g_i) / Z with C positive semi-definite."""
    g = vectors(6, seed)
    step = torch.stack([w * v for w, v in zip(weights(*g), g, strict=True)]).sum(0)
    assert step @ torch.stack(g).mean(0) >= 0


def test_one_task_is_the_base() -> None:
    """N = 1: the weight is one, so the step is the base's row to the bit."""
    rng = np.random.default_rng(12)
    data = [quadratic_task(quadratics.random_quadratic(rng, 5, 10.0), 3)]
    params = split(MODEL, rng.standard_normal(5))
    step: Callable[..., loops.Params] = loops.agreement_step_maml
    pairs = [(step, loops.maml_rows), (loops.agreement_step_reptile, loops.reptile_rows)]
    for agreement, base in pairs:
        (row,) = base(MODEL, mean_value, params, data, 0.5)
        assert torch.equal(flat(agreement(MODEL, mean_value, params, data, 0.5)), flat(row))
