"""The table that decides the architecture: which forms of MAML are right at second order.

Form A, ``vmap(grad(loss))`` inside an outer gradient, is the tutorial form; with fused norms its
second order is silently wrong. Form B, the gradient of ``vmap(loss).sum()``, is the engine's.
Seen with torch 2.13 on a CPU; the cause is the batching rule of the fused norm's backward
(pytorch/functorch#534).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from metaccord import tree
from metaccord.methods import maml
from metaccord.types import Stacked
from tests import cases, tolerances
from tests.reference import loops
from tests.reference.compare import relative_error

LR, STEPS, TASKS = 0.2, 3, 3
BROKEN = ("batchnorm2d", "instancenorm2d", "layernorm")
SOUND = ("convolution", "groupnorm", "plain")


def form_a(net: str) -> tuple[Stacked, Tensor]:
    """Second-order rows and query losses with the inner gradients under ``vmap``."""
    goal, found = cases.objective(net), cases.episodes(net, TASKS)
    inner = vmap(grad(goal.loss))
    stack = tree.expand({k: v.detach() for k, v in goal.trainable().items()}, TASKS)
    stack = {k: v.clone().requires_grad_() for k, v in stack.items()}
    params = stack
    for _ in range(STEPS):
        grads = inner(params, found.support)
        params = {k: v - LR * grads[k] for k, v in params.items()}
    losses = vmap(goal.loss)(params, found.query)
    rows = torch.autograd.grad(losses.sum(), tuple(stack.values()))
    return dict(zip(stack, rows, strict=True)), losses.detach()


def exact(net: str) -> Stacked:
    """Rows of the slow twin."""
    goal, method = cases.objective(net), maml(steps=STEPS, lr=LR, never=())
    params = {k: v.detach() for k, v in goal.trainable().items()}
    tasks = cases.twin_tasks(method, cases.episodes(net, TASKS))
    return cases.stacked(loops.maml_rows(goal.model, goal.criterion, params, tasks, LR))


@pytest.mark.parametrize("net", [*BROKEN, *SOUND, "batchnorm1d"])
def test_form_b_is_right(net: str) -> None:
    step = cases.step(maml(steps=STEPS, lr=LR, never=()), net, count=TASKS)
    assert relative_error(cases.model_rows(step.rows), exact(net)) <= tolerances.TWIN_F64


@pytest.mark.parametrize("net", BROKEN)
def test_form_a_is_wrong_for_fused_norms(net: str) -> None:
    """Silently: the losses are right, so nothing warns."""
    rows, losses = form_a(net)
    right = cases.step(maml(steps=STEPS, lr=LR, never=()), net, count=TASKS).run.losses
    assert relative_error(losses, right) <= tolerances.TWIN_F64
    error = relative_error(rows, exact(net))
    if error <= 1e-3:
        pytest.fail(
            f"good news: torch {torch.__version__} takes vmap(grad(...)) of {net} right at second "
            f"order (error {error:.1e}). Record it in docs and move {net!r} from BROKEN to SOUND; "
            "the engine's form B stays right either way"
        )


@pytest.mark.parametrize("net", SOUND)
def test_form_a_is_right_elsewhere(net: str) -> None:
    """So the comparison itself is sound."""
    assert relative_error(form_a(net)[0], exact(net)) <= tolerances.TWIN_F64
