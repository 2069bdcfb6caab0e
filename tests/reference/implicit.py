"""Slow twin of iMAML: a dense Hessian per task and a dense solve.

The inner problem is theta_i = argmin_t L_S(t) + lambda/2 |t - theta|^2 over the tensors that
move; its solution is given here, exact or not, and nothing is differentiated through the path.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, Task, always, gradient, leaves, loss_at
from tests.reference.rules import Params

Array = NDArray[np.float64]


def imaml_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    adapted: list[Params],
    tasks: list[Task],
    strength: float,
    *,
    damping: float = 0.0,
    shift: float = 0.0,
    moves: Callable[[str], bool] = always,
    cross: bool = False,
    iterations: int | None = None,
) -> list[Params]:
    """iMAML: row = v with ((1 + damping) I + H / (lambda + shift)) v = grad L_Q(theta_i).

    H is the Hessian of the support loss at theta_i by the moving tensors alone. The textbook
    system has ``damping = shift = 0``; the official code 1 and 10.

    Assumption for tensors that do not move (the paper has none): the solution does not depend
    on them, so their row is the direct gradient of L_Q at theta_i. ``cross`` adds the rest: the
    stationary point g_m(t, s) + lambda (t - theta) = 0 moves with s by -(H + lambda I)^{-1} H_ms,
    so the row of s is grad_s L_Q - H_sm v / (lambda + shift), exact without damping and shift.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta; only its names and their order matter.
        adapted: theta_i of each task, all names.
        tasks: The first batch of each must be the whole support set.
        strength: lambda.
        damping: Added to the identity.
        shift: Added to lambda.
        moves: Which names the inner loop changes.
        cross: Differentiate the solution by the tensors that do not move, too.
        iterations: Conjugate gradient steps from zero; None solves exactly.

    Returns:
        Rows by name in theta's type; the system is solved in float64.
    """
    rows = []
    for solution, task in zip(adapted, tasks, strict=True):
        at = leaves({name: solution[name] for name in params})
        inside = torch.cat([torch.full((at[name].numel(),), moves(name)) for name in at])
        assert task.query is not None
        query = gradient(loss_at(model, criterion, at, task.query), at, create_graph=False)
        row = _vector(query).double()
        hessian = support_hessian(model, criterion, at, task.batches[0]).double()
        curvature = hessian[inside][:, inside] / (strength + shift)
        system = (1 + damping) * torch.eye(len(curvature)).double() + curvature
        if iterations is None:
            solved = torch.linalg.solve(system, row[inside])
        else:
            product = partial(np.matmul, system.numpy())
            solved = torch.from_numpy(conjugate_gradients(product, row[inside].numpy(), iterations))
        row[inside] = solved
        if cross:
            row[~inside] -= hessian[~inside][:, inside] @ solved / (strength + shift)
        rows.append(_split(row, at))
    return rows


def support_hessian(model: nn.Module, criterion: Criterion, at: Params, batch: Data) -> Tensor:
    """Hessian ``[d, d]`` of the loss on ``batch`` by all tensors of ``at``, entry by entry."""
    grads = _vector(gradient(loss_at(model, criterion, at, batch), at, create_graph=True))
    lines = []
    for entry in grads:
        if not entry.requires_grad:  # the loss is linear
            lines.append(torch.zeros_like(grads))
            continue
        line = torch.autograd.grad(
            entry, list(at.values()), retain_graph=True, materialize_grads=True
        )
        lines.append(torch.cat([part.reshape(-1) for part in line]))
    return torch.stack(lines).detach()


def proximal_adapt(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    batches: list[Data],
    lr: float,
    strength: float,
    *,
    every_step: bool = True,
    moves: Callable[[str], bool] = always,
) -> list[Params]:
    """Gradient descent on the proximal inner problem, K = ``len(batches)``, detached.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta.
        batches: One per step.
        lr: Inner rate alpha.
        strength: lambda.
        every_step: t <- t - alpha (grad L_S(t) + lambda (t - theta)) at every step. Otherwise,
            as in the official code, K plain steps and then one step on the proximal term alone,
            t <- t - alpha lambda (t - theta).
        moves: Which names the inner loop changes.

    Returns:
        The path: K + 1 points, or K + 2 with the last step of the official code.
    """
    theta = {name: tensor.detach() for name, tensor in params.items()}
    now = dict(theta)
    path = [now]
    for batch in batches:
        at = leaves(now)
        moved = {name: tensor for name, tensor in at.items() if moves(name)}
        grads = gradient(loss_at(model, criterion, at, batch), moved, create_graph=False)
        now = dict(now)
        for name, grad in grads.items():
            pull = strength * (path[-1][name] - theta[name]) if every_step else 0.0
            now[name] = now[name] - lr * (grad + pull)
        path.append(now)
    if not every_step:
        now = dict(now)
        for name in filter(moves, now):
            now[name] = now[name] - lr * strength * (now[name] - theta[name])
        path.append(now)
    return path


def conjugate_gradients(matvec: Callable[[Array], Array], b: Array, iterations: int) -> Array:
    """Solve A x = b from x = 0, ``[d]``; stop when the residual is below rounding of b."""
    x, r = np.zeros_like(b), b.copy()
    p, square = r.copy(), r @ r
    small = (np.finfo(b.dtype).eps ** 2) * square
    for _ in range(iterations):
        if square <= small:
            break
        image = matvec(p)
        alpha = square / (p @ image)
        x, r = x + alpha * p, r - alpha * image
        before, square = square, r @ r
        p = r + square / before * p
    return x


def _vector(params: Params) -> Tensor:
    """All entries one behind the other, ``[d]``, with their graph."""
    return torch.cat([tensor.reshape(-1) for tensor in params.values()])


def _split(vector: Tensor, like: Params) -> Params:
    """Cut ``[d]`` into the shapes and types of ``like``."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {
        name: piece.reshape(like[name].shape).to(like[name].dtype)
        for name, piece in zip(like, pieces, strict=True)
    }
