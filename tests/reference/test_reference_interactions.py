"""The twin of Gradient Sharing against algebra, and the limits of its equations."""

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.reference import interactions, loops, sharing
from tests.reference.cases import LR, MODEL, Case, agrees, criterion, rows
from tests.reference.compare import relative_error
from tests.reference.modules import flat


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 3, 5])
@pytest.mark.parametrize("flow", ["constant", "differentiated", "first order"])
@pytest.mark.parametrize("mode", ["convex", "additive"])
def test_sharing(mode: Literal["convex", "additive"], flow: str, steps: int, known: bool) -> None:
    """Solutions, means, rows and coefficients; five steps are two more than were trained."""
    case = Case(steps, steps)
    if not known:
        case.forget()
    options = {"differentiate": flow == "differentiated", "first_order": flow == "first order"}
    found = case.shared(mode=mode, **options)
    mix = interactions.blend(
        case.share, case.past, case.history, steps, additive=mode == "additive"
    )
    run = interactions.share_forward(case.quadratics, case.theta, LR, mix)
    p = interactions.query_gradients(case.quadratics, run.points[-1])
    back = interactions.share_backward(case.quadratics, LR, mix, run, p, **options)
    assert agrees(rows(found.solutions), run.points[-1])
    assert agrees(rows(found.rows), back.rows)
    assert agrees(flat(found.grads), back.rows.mean(0))
    assert len(found.means) == steps
    for c, closed in zip(found.means, run.means, strict=True):
        assert agrees(flat(c), closed)
    for kind, closed in (("share", back.share), ("past", back.past)):
        trained = np.zeros((len(closed), 3))
        for k in range(steps):
            trained[:, min(k, 2)] += closed[:, k]
        per_task = torch.stack([row[kind] for row in found.coefficient_rows])
        assert agrees(per_task, trained)
        assert agrees(found.coefficient_grads[kind], trained.mean(0))


def test_sharing_swaps_are_seen() -> None:
    """Two modes, three flows, with and without history: all gradients differ."""
    flows: list[dict[str, Any]] = [{}, {"differentiate": True}, {"first_order": True}]
    options = [{"mode": mode, **flow} for mode in ("convex", "additive") for flow in flows]
    case = Case(2, 3)
    found = [flat(case.shared(**option).grads) for option in options]
    case.forget()
    found += [flat(case.shared(**option).grads) for option in options]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert relative_error(a, b) > tolerances.CLEARLY_DIFFERENT


@pytest.mark.parametrize("first_order", [True, False])
def test_sharing_at_its_limits_is_maml(first_order: bool) -> None:
    """A share of exactly zero: MAML or FOMAML to the bit."""
    case = Case(2, 3)
    base = loops.fomaml_rows if first_order else loops.maml_rows
    plain = case.twin(base)
    zero = torch.zeros(3, dtype=torch.float64)
    for mode, off in (("convex", zero - torch.inf), ("additive", zero)):
        case.coefficients = {"share": off, "past": zero}
        found = case.shared(mode=mode, first_order=first_order)
        assert torch.equal(rows(found.rows), rows(plain))


def test_a_common_mean_of_oneself_is_maml() -> None:
    """One task or equal tasks without history: MAML's solutions; its gradient unless c is constant.

    A constant c_k removes its share of the curvature: p <- p - alpha (1 - l) A p.
    """
    case = Case(3, 3)
    case.forget()
    for tasks in ([case.tasks[0]], [case.tasks[1]] * 4):
        case.tasks = tasks
        for base, options in (
            (loops.maml_rows, {"differentiate": True}),
            (loops.fomaml_rows, {"first_order": True}),
            (loops.maml_rows, {}),
        ):
            found = case.shared(**options)
            close = relative_error(flat(found.grads), rows(case.twin(base)).mean(0))
            assert close <= tolerances.TWIN_F64 if options else close > 1e-3
            solved = rows(case.solutions())
            assert relative_error(rows(found.solutions), solved) <= tolerances.TWIN_F64


def test_sharing_everything_keeps_tasks_together() -> None:
    """l = 1 without history: joint training, one point for all tasks at any K."""
    case = Case(4, 3)
    case.forget()
    case.coefficients["share"] = torch.full((3,), torch.inf, dtype=torch.float64)
    for a, b in pairwise(case.shared().solutions):
        assert relative_error(flat(a), flat(b)) <= tolerances.TWIN_F64


def test_coefficients_of_each_tensor() -> None:
    """Equal values give the scalar's step, and its gradient is the sum over tensors."""
    case = Case(5, 4)
    for mode in ("convex", "additive"):
        scalar = case.shared(mode=mode)
        shared = case.coefficients
        case.coefficients = {f"{k}.{n}": v for k, v in shared.items() for n in case.params}
        found, case.coefficients = case.shared(mode=mode), shared
        assert torch.equal(rows(found.rows), rows(scalar.rows))
        for kind, gradient in scalar.coefficient_grads.items():
            assert gradient.all()
            by_tensor = sum(found.coefficient_grads[f"{kind}.{n}"] for n in case.params)
            assert relative_error(torch.as_tensor(by_tensor), gradient) <= tolerances.TWIN_F64


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("mode", ["convex", "additive"])
def test_isolated_is_a_batch_of_one(mode: Literal["convex", "additive"], known: bool) -> None:
    """At meta-test c is the task's own gradient: (1 - l u) g + l u m, or (1 + l) g + u m."""
    case = Case(6, 5)
    if not known:
        case.forget()
    parts = (case.params, case.tasks[0], LR, case.coefficients, case.memory)
    path = sharing.isolated(MODEL, criterion, *parts, mode=mode)
    case.tasks = case.tasks[:1]
    (alone,) = case.shared(mode=mode).solutions
    assert len(path) == 6
    assert relative_error(flat(path[-1]), flat(alone)) <= tolerances.TWIN_F64


def test_running_mean() -> None:
    """m_t = (1 - rho) sum_s rho^(t - s) c_s, corrected: weights sum to one; None before."""
    generator = torch.Generator().manual_seed(0)
    past = [torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(6)]
    mean, count = None, 0
    assert sharing.corrected(mean, count, 0.9) is None
    for t in range(1, 7):
        mean, count = sharing.updated_mean(mean, count, {"w": past[t - 1]}, 0.9)
        weights = torch.tensor([0.9 ** (t - s) for s in range(1, t + 1)], dtype=torch.float64)
        closed = (weights / weights.sum()) @ torch.stack(past[:t])
        found = sharing.corrected(mean, count, 0.9)
        assert count == t
        assert found is not None
        assert relative_error(found["w"], closed) <= tolerances.TWIN_F64
