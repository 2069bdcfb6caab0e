"""Slow twins of learned rates and of MAML++: Meta-SGD, LSLR, multi-step loss.

Rates are dictionaries by name beside theta's; a name that does not move needs none. First order
means that every inner gradient is a constant: theta_K = theta - sum_k rate_k * const(g_k), so the
row of theta is the query gradient where the loss is taken, and that of a rate is -g_k * p.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, Task, adapt, always, gradient, leaves, loss_at
from tests.reference.rules import Params

RateAt = Callable[[Tensor, int], Tensor]
"""``rate_at(stored, step)``: what multiplies the gradient of one tensor at one step."""


def meta_sgd_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    rates: Params,
    tasks: list[Task],
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    weights: list[float] | None = None,
) -> tuple[list[Params], list[Params]]:
    """Meta-SGD: theta_{k+1} = theta_k - a * grad L_S(theta_k), a of theta's shape, every step.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta.
        rates: a by name, each of its tensor's shape (or a scalar, for one rate per tensor).
        tasks: K is the number of batches of a task.
        first_order: Inner gradients are constants; the factor a is still differentiated.
        moves: Which names the inner loop changes.
        weights: v_0..v_{K-1} of the multi-step loss; None takes the query loss after step K.

    Returns:
        Rows of theta and rows of the rates, one dictionary per task; a rate that is not used
        has a zero row.
    """
    options: dict[str, Any] = {"first_order": first_order, "moves": moves}
    return _rows(model, criterion, params, rates, tasks, whole, weights, options)


def lslr_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    rates: Params,
    tasks: list[Task],
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    weights: list[float] | None = None,
) -> tuple[list[Params], list[Params]]:
    """LSLR: theta_{k+1} = theta_k - rate[k] grad L_S(theta_k), one rate per tensor and step.

    As ``meta_sgd_rows``, but ``rates`` holds ``[L]`` by name. Beyond L steps the last rate
    repeats (and gathers the gradients of all of them); rates beyond K have zero rows. With
    ``weights`` this is MAML++ without its per-step normalisation.
    """
    options: dict[str, Any] = {"first_order": first_order, "moves": moves}
    return _rows(model, criterion, params, rates, tasks, at_step, weights, options)


def multi_step_weights(
    epoch: int, horizon_epochs: int, steps: int, floor: float = 0.03
) -> list[float]:
    """v_0..v_{K-1} of MAML++ in epoch e (from 0), E = ``horizon_epochs``, K = ``steps``.

    v_k = max(1/K - e/(KE), floor/K) for k < K-1,
    v_{K-1} = min(1/K + e(K-1)/(KE), 1 - (K-1) floor/K); from epoch E on only the last step.
    They sum to one.
    """
    if epoch >= horizon_epochs:
        return [0.0] * (steps - 1) + [1.0]
    early = max(1 / steps - epoch / (steps * horizon_epochs), floor / steps)
    last = min(
        1 / steps + epoch * (steps - 1) / (steps * horizon_epochs), 1 - (steps - 1) * floor / steps
    )
    return [early] * (steps - 1) + [last]


def multi_step_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    weights: list[float],
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
) -> list[Params]:
    """MAML with the multi-step loss: row = d/dtheta sum_{k=1..K} v_{k-1} L_Q(theta_k).

    First order: row = sum_k v_{k-1} grad L_Q at theta_k.
    """
    rows = []
    for task in tasks:
        theta = leaves(params)
        path = adapt(
            model, criterion, theta, task.batches, lr, moves=moves, create_graph=not first_order
        ).path
        row = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
        for weight, point in zip(weights, path[1:], strict=True):
            if first_order:
                point = leaves(point)
            loss = weight * loss_at(model, criterion, point, _query(task))
            grads = torch.autograd.grad(
                loss,
                list((point if first_order else theta).values()),
                retain_graph=True,  # the next point shares the path
                materialize_grads=True,
            )
            for name, grad in zip(row, grads, strict=True):
                row[name] = row[name] + grad
        rows.append(row)
    return rows


def rated_path(
    model: nn.Module,
    criterion: Criterion,
    theta: Params,
    rates: Params,
    batches: list[Data],
    rate_at: RateAt,
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
) -> list[Params]:
    """Points after 0..K steps, with the graph to theta and to the rates.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        theta: Where to start, and
        rates: by name; both must require gradients.
        batches: One per step.
        rate_at: ``whole`` (Meta-SGD) or ``at_step`` (LSLR).
        first_order: Inner gradients are constants.
        moves: Which names the inner loop changes.
    """
    now, path = theta, [theta]
    for step, batch in enumerate(batches):
        at = leaves(now) if first_order else now
        moved = {name: tensor for name, tensor in at.items() if moves(name)}
        loss = loss_at(model, criterion, at, batch)
        grads = gradient(loss, moved, create_graph=not first_order)
        now = dict(now)
        for name, grad in grads.items():
            now[name] = now[name] - rate_at(rates[name], step) * grad
        path.append(now)
    return path


def whole(stored: Tensor, step: int) -> Tensor:
    """Meta-SGD: the same rates at every step."""
    return stored


def at_step(stored: Tensor, step: int) -> Tensor:
    """LSLR: the rate of this step, the last one beyond them."""
    return stored[min(step, len(stored) - 1)]


def _rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    rates: Params,
    tasks: list[Task],
    rate_at: RateAt,
    weights: list[float] | None,
    options: dict[str, Any],
) -> tuple[list[Params], list[Params]]:
    """One loop over tasks for both kinds of rates."""
    theta_rows, rate_rows = [], []
    for task in tasks:
        theta, learned = leaves(params), leaves(rates)
        path = rated_path(model, criterion, theta, learned, task.batches, rate_at, **options)
        if weights is None:
            loss = loss_at(model, criterion, path[-1], _query(task))
        else:
            loss = next(iter(params.values())).new_zeros(())
            for weight, point in zip(weights, path[1:], strict=True):
                loss = loss + weight * loss_at(model, criterion, point, _query(task))
        everything = {f"theta {name}": tensor for name, tensor in theta.items()}
        everything |= {f"rate {name}": tensor for name, tensor in learned.items()}
        grads = gradient(loss, everything, create_graph=False)
        theta_rows.append({name: grads[f"theta {name}"] for name in theta})
        rate_rows.append({name: grads[f"rate {name}"] for name in learned})
    return theta_rows, rate_rows


def _query(task: Task) -> Data:
    """Q_i, which these methods cannot do without."""
    assert task.query is not None
    return task.query
