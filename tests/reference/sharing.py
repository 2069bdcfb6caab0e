"""Gradient Sharing, slowly: all tasks advance in lockstep, one Python loop per task.

Only the abstract of Chang and Lipson 2023 is public; the equations are a reconstruction:

    c_k = (1/N) sum_j g_{j,k}
    convex     h_{i,k} = (1 - l_k) g_{i,k} + l_k [(1 - u_k) c_k + u_k m_k],
               l = sigmoid(a), u = sigmoid(b)
    additive   h_{i,k} = g_{i,k} + l_k c_k + u_k m_k, l and u free

Names are those of the module, without the prefix ``model.``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tests.reference.coupled import detached, gradients, mean_of, query_losses
from tests.reference.inner import Criterion, Task, always, gradient, leaves, loss_at
from tests.reference.rules import RULES, Params, Slots

Mode = Literal["convex", "additive"]
Coefficients = dict[str, Tensor]
"""``share`` and ``past`` of shape ``[K]``, or ``share.<name>`` and ``past.<name>`` per tensor.

Logits a and b of the convex form, l and u themselves of the additive form.
"""
Past = list[Params | None]
"""The bias-corrected m_k of every step, by name; None while there is no history."""


class Lockstep(NamedTuple):
    """Where every task arrives, with its graph, and the detached c_k of every step."""

    solutions: list[Params]
    means: list[Params]


class SharingStep(NamedTuple):
    """One meta-gradient.

    Attributes:
        losses: Query losses, one per task.
        grads: Gradient of the mean query loss by theta.
        coefficient_grads: Gradient of the mean query loss by each coefficient tensor.
        rows: What flows from the sum of query losses into task i's copy of theta. The mean of
            the rows is ``grads``; without a gradient through c_k, row i is task i's alone.
        means: c_k of every step, for the tensors that move.
        coefficient_rows: The same as ``rows`` for the coefficients.
        solutions: theta_i, detached.
    """

    losses: list[Tensor]
    grads: Params
    coefficient_grads: Coefficients
    rows: list[Params]
    means: list[Params]
    coefficient_rows: list[Coefficients]
    solutions: list[Params]


def sharing_step(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    coefficients: Coefficients,
    past: Past,
    *,
    mode: Mode = "convex",
    differentiate: bool = False,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> SharingStep:
    """MAML with shared inner gradients; ``differentiate`` lets gradients pass through c_k.

    ``first_order`` takes every inner gradient as a constant: J_i = I, and the coefficients
    keep the gradient of their own step.
    """
    options: dict[str, Any] = {
        "mode": mode,
        "differentiate": differentiate,
        "first_order": first_order,
        "moves": moves,
        "rule": rule,
        "rule_options": rule_options,
    }
    # Once with one theta and one set of coefficients for everybody: the gradient of the mean.
    size, theta, shared = len(tasks), leaves(params), leaves(coefficients)
    run = lockstep(model, criterion, [theta] * size, tasks, lr, [shared] * size, past, **options)
    losses = query_losses(model, criterion, run.solutions, tasks)
    grads, coefficient_grads = gradients(torch.stack(losses).mean(), [theta, shared])
    # Once with a copy per task: the rows.
    thetas, copies = [leaves(params) for _ in tasks], [leaves(coefficients) for _ in tasks]
    again = lockstep(model, criterion, thetas, tasks, lr, copies, past, **options)
    total = torch.stack(query_losses(model, criterion, again.solutions, tasks)).sum()
    rows = gradients(total, [*thetas, *copies])
    return SharingStep(
        [loss.detach() for loss in losses],
        grads,
        coefficient_grads,
        rows[:size],
        run.means,
        rows[size:],
        [detached(solution) for solution in run.solutions],
    )


def lockstep(
    model: nn.Module,
    criterion: Criterion,
    thetas: list[Params],
    tasks: list[Task],
    lr: float,
    coefficients: list[Coefficients],
    past: Past,
    *,
    mode: Mode = "convex",
    differentiate: bool = False,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> Lockstep:
    """Advance all tasks together, from one theta and one set of coefficients per task."""
    now, means = [dict(theta) for theta in thetas], []
    slots = [Slots() for _ in tasks]
    for step in range(len(tasks[0].batches)):
        own = []
        for point, task in zip(now, tasks, strict=True):
            moved = {name: tensor for name, tensor in point.items() if moves(name)}
            loss = loss_at(model, criterion, point, task.batches[step])
            grads = gradient(loss, moved, create_graph=True)  # g_{i,k}
            own.append(detached(grads) if first_order else grads)
        concurrent = mean_of(own)  # c_k
        means.append(detached(concurrent))
        seen = concurrent if differentiate else detached(concurrent)
        for i, grads in enumerate(own):
            moved = {name: now[i][name] for name in grads}
            mixed = blend(mode, coefficients[i], step, grads, seen, at_step(past, step))
            after, slots[i] = RULES[rule](moved, mixed, lr, slots[i], **dict(rule_options or {}))
            now[i] = {**now[i], **after}
    return Lockstep(now, means)


def blend(
    mode: Mode,
    coefficients: Coefficients,
    step: int,
    own: Params,
    concurrent: Params,
    past: Params | None,
) -> Params:
    """h_{i,k} by name; without history u counts as 0, so that m_k never enters."""
    mixed = {}
    for name, g in own.items():
        share = coefficient(coefficients, "share", name, step)
        previous = coefficient(coefficients, "past", name, step)
        c = concurrent[name]
        if mode == "additive":
            mixed[name] = g + share * c  # g + l c + u m
            if past is not None:
                mixed[name] = mixed[name] + previous * past[name].detach()
            continue
        lam = torch.sigmoid(share)
        if past is None:
            target = c
        else:
            mu = torch.sigmoid(previous)
            target = (1 - mu) * c + mu * past[name].detach()
        mixed[name] = (1 - lam) * g + lam * target  # (1 - l) g + l [(1 - u) c + u m]
    return mixed


def coefficient(coefficients: Coefficients, kind: str, name: str, step: int) -> Tensor:
    """The scalar of one tensor at one step; steps beyond the last repeat it."""
    tensor = coefficients[kind] if kind in coefficients else coefficients[f"{kind}.{name}"]
    return tensor[min(step, len(tensor) - 1)]


def at_step(past: Past, step: int) -> Params | None:
    """m_k, or the last one beyond it."""
    return past[min(step, len(past) - 1)] if past else None


def isolated(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    task: Task,
    lr: float,
    coefficients: Coefficients,
    past: Past,
    *,
    mode: Mode = "convex",
    moves: Callable[[str], bool] = always,
) -> list[Params]:
    """Adapt one task at meta-test, where c_k is its own gradient; m_k is frozen.

    Returns:
        The path of K + 1 points, detached.
    """
    now = leaves(params)
    path = [now]
    for step, batch in enumerate(task.batches):
        moved = {name: tensor for name, tensor in now.items() if moves(name)}
        own = gradient(loss_at(model, criterion, now, batch), moved, create_graph=False)
        history, after = at_step(past, step), {}
        for name, g in own.items():
            share = coefficient(coefficients, "share", name, step).detach()
            previous = coefficient(coefficients, "past", name, step).detach()
            m = torch.zeros_like(g) if history is None else history[name].detach()
            if mode == "additive":
                h = (1 + share) * g + previous * m
            else:
                lam = torch.sigmoid(share)
                mu = torch.sigmoid(previous) if history is not None else torch.zeros_like(lam)
                h = (1 - lam * mu) * g + lam * mu * m
            after[name] = moved[name] - lr * h
        now = leaves({**now, **after})
        path.append(now)
    return [detached(point) for point in path]


def updated_mean(mean: Params | None, count: int, c: Params, momentum: float) -> tuple[Params, int]:
    """m <- rho m + (1 - rho) c, from zero; not corrected. Also the number of updates."""
    new = {}
    for name, tensor in c.items():
        old = torch.zeros_like(tensor) if mean is None else mean[name]
        new[name] = momentum * old + (1 - momentum) * tensor.detach()
    return new, count + 1


def corrected(mean: Params | None, count: int, momentum: float) -> Params | None:
    """m / (1 - rho^t) after t updates; None before the first."""
    if mean is None or count == 0:
        return None
    return {name: tensor / (1 - momentum**count) for name, tensor in mean.items()}
