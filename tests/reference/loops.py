"""Slow, obvious twins: MAML, FOMAML, Reptile and Gradient Agreement.

Plain ``torch.autograd`` and nested loops over tasks and steps, to be read beside the papers.
S_i and Q_i are support and query set of task i, theta the initialisation, theta_i what task i
reaches after K steps. Names are those of the module, without the prefix ``model.``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.inner import (
    Adapted,
    Criterion,
    Data,
    Task,
    adapt,
    always,
    gradient,
    leaves,
    loss_at,
)
from tests.reference.rules import Params, Slots, mean_slots

__all__ = [
    "Adapted",
    "Criterion",
    "Data",
    "Params",
    "Slots",
    "Task",
    "adapt",
    "agreement_step_maml",
    "agreement_step_reptile",
    "agreement_weights",
    "always",
    "fomaml_rows",
    "gradient",
    "leaves",
    "loss_at",
    "maml_rows",
    "mean_slots",
    "reptile_rows",
]


def maml_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> list[Params]:
    """MAML: row i = d L_{Q_i}(theta_i) / d theta = J_i^T grad L_{Q_i}(theta_i)."""
    rows = []
    for task in tasks:
        theta = leaves(params)
        adapted = adapt(
            model,
            criterion,
            theta,
            task.batches,
            lr,
            moves=moves,
            create_graph=True,
            rule=rule,
            rule_options=rule_options,
        )
        loss = loss_at(model, criterion, adapted.path[-1], _query(task))  # L_Q(theta_i(theta))
        rows.append(gradient(loss, theta, create_graph=False))
    return rows


def fomaml_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> list[Params]:
    """First-order MAML: row i = grad L_{Q_i} at theta_i, that is J_i := I."""
    rows = []
    for task in tasks:
        adapted = adapt(
            model,
            criterion,
            params,
            task.batches,
            lr,
            moves=moves,
            create_graph=False,
            rule=rule,
            rule_options=rule_options,
        )
        theta_i = leaves(adapted.path[-1])
        loss = loss_at(model, criterion, theta_i, _query(task))  # L_Q(theta_i), theta_i a leaf
        rows.append(gradient(loss, theta_i, create_graph=False))
    return rows


def reptile_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> list[Params]:
    """Reptile: row i = theta - theta_i; zero where nothing moves. Also agreement's g_i."""
    rows = []
    for task in tasks:
        adapted = adapt(
            model,
            criterion,
            params,
            task.batches,
            lr,
            moves=moves,
            create_graph=False,
            rule=rule,
            rule_options=rule_options,
        )
        theta_i = adapted.path[-1]
        rows.append({name: params[name].detach() - theta_i[name] for name in params})
    return rows


def agreement_weights(displacements: list[Params]) -> Tensor:
    """Weights of Gradient Agreement (Eshratifar et al. 2018, Eq. 1), by a double loop.

    Args:
        displacements: g_i = theta - theta_i by name, one dictionary per task.

    Returns:
        w, ``[N]``, constant; 1/N each when the scores cancel to rounding.
    """
    scores = []
    for g_i in displacements:
        score = _zero(g_i)
        for g_j in displacements:  # the sum includes j = i
            score = score + _dot(g_i, g_j)  # s_i = sum_j g_i . g_j
        scores.append(score)
    num_tasks = len(displacements)
    total, size = _zero(displacements[0]), _zero(displacements[0])
    for score, g_i in zip(scores, displacements, strict=True):
        total = total + score.abs()  # sum_k |s_k|
        size = size + _dot(g_i, g_i)  # sum_k |g_k|^2
    if total <= 64 * torch.finfo(total.dtype).eps * num_tasks * size:
        return torch.full_like(torch.stack(scores), 1 / num_tasks)
    return torch.stack([score / total for score in scores])  # w_i = s_i / sum_k |s_k|


def agreement_step_maml(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> Params:
    """Algorithm 1, line 9: sum_i w_i grad L_i(f_{theta_i}); theta moves by -alpha_outer of it.

    w comes from the inner displacements (line 7), not from the query gradients.

    Returns:
        The direction, by name.
    """
    chosen = fomaml_rows if first_order else maml_rows
    rows = chosen(
        model, criterion, params, tasks, lr, moves=moves, rule=rule, rule_options=rule_options
    )
    displacements = reptile_rows(
        model, criterion, params, tasks, lr, moves=moves, rule=rule, rule_options=rule_options
    )
    return _weighted(agreement_weights(displacements), rows)


def agreement_step_reptile(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    moves: Callable[[str], bool] = always,
    rule: str = "sgd",
    rule_options: Mapping[str, Any] | None = None,
) -> Params:
    """Algorithm 1, line 10: sum_i w_i (theta - theta_i); theta moves by -alpha_outer of it."""
    displacements = reptile_rows(
        model, criterion, params, tasks, lr, moves=moves, rule=rule, rule_options=rule_options
    )
    return _weighted(agreement_weights(displacements), displacements)


def _weighted(weights: Tensor, rows: list[Params]) -> Params:
    """Return sum_i w_i row_i; sum_i |w_i| = 1, so there is no further division by N."""
    direction = {name: torch.zeros_like(tensor) for name, tensor in rows[0].items()}
    for weight, row in zip(weights, rows, strict=True):
        for name in row:
            direction[name] = direction[name] + weight * row[name]
    return direction


def _dot(a: Params, b: Params) -> Tensor:
    """Inner product over all tensors together."""
    total = _zero(a)
    for name in a:
        total = total + (a[name] * b[name]).sum()
    return total


def _zero(like: Params) -> Tensor:
    """Make a scalar zero of the same type and device."""
    return next(iter(like.values())).new_zeros(())


def _query(task: Task) -> Data:
    """Q_i, which Reptile alone can do without."""
    assert task.query is not None
    return task.query
