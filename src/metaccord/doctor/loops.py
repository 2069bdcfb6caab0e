"""The meta-gradient by a plain loop: nothing of the engine, only the forward pass of one task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaccord import keys, tree
from metaccord.estimators import MAML, Reptile
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.rules import SGD, Momentum
from metaccord.types import Batch, Episode, MetaState, Params
from metaccord.uneven import singles


def has_loop(method: Method) -> bool:
    """Say whether :func:`by_loop` knows the method: descent with or without momentum."""
    rule = method.rule
    plain = type(rule) in (SGD, Momentum) and rule.clip_norm is None and rule.clip_value is None
    return plain and type(method.estimator) in (MAML, Reptile)


def by_loop(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Params:
    """Return the mean meta-gradient by ``torch.autograd.grad`` in nested loops: ``[...]``.

    MAML differentiates through the inner steps, first-order MAML takes inner gradients as
    constants, Reptile goes back the way that each task went.
    """
    rows = [_row(method, objective, state, one) for one in singles(episodes)]
    return {k: torch.stack([row[k] for row in rows]).mean(0) for k in state.params}


def _row(method: Method, objective: Objective, state: MetaState, task: Episode) -> Params:
    rule: Any = method.rule
    estimator = method.estimator
    second = isinstance(estimator, MAML) and not estimator.first_order
    start = {
        k: v.detach().clone().requires_grad_() for k, v in tree.scope(state.params, "model").items()
    }
    moves, still = rule.divide(start, objective.groups)
    velocity = {k: torch.zeros_like(v) for k, v in moves.items()}
    nu = getattr(rule, "momentum", 0.0)
    dropout = task.extra.get("dropout") if objective.draws else None
    for step in range(rule.steps):
        batch = _slice(task.support, rule.batch, step)
        loss = objective.loss({**still, **moves}, batch, _key(dropout, step))
        found = torch.autograd.grad(
            loss, tuple(moves.values()), create_graph=second, materialize_grads=True
        )
        velocity = {k: nu * velocity[k] + g for k, g in zip(moves, found, strict=True)}
        moves = {k: v - rule.lr * velocity[k] for k, v in moves.items()}
    if isinstance(estimator, Reptile):
        row = {
            k: start[k].detach() - moves[k].detach() if k in moves else 0 * v
            for k, v in start.items()
        }
        return tree.under(tree.detached(row), "model")
    loss = objective.loss({**still, **moves}, task.query, _key(dropout, rule.steps))
    found = torch.autograd.grad(loss, tuple(start.values()), materialize_grads=True)
    return tree.under(dict(zip(start, found, strict=True)), "model")


def _slice(support: Batch, size: int | None, step: int) -> Batch:
    """Return the examples of one step from a support set that the rule has arranged."""
    if size is None:
        return support
    return Batch(*tree.mapped(lambda leaf: leaf[step * size : (step + 1) * size], support))


def _key(dropout: Tensor | None, step: int) -> Tensor | None:
    return None if dropout is None else keys.mix(dropout, step)
