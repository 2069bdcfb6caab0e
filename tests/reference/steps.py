"""Slow twin of MAML++ with scale and shift of its own for each number of inner steps done.

``norms`` is a list of dictionaries: entry k replaces theta's tensors of the same names wherever a
loss is taken after k inner steps, whether on S_i (inner step k) or on Q_i. The last entry repeats.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, Task, gradient, leaves, loss_at
from tests.reference.rates import at_step
from tests.reference.rules import Params


class Rows(NamedTuple):
    """One task's gradients by theta, by the rates ``[K]``, and by each entry of the norms."""

    theta: Params
    rates: Params
    norms: list[Params]


def met_at(point: Params, norms: list[Params], step: int) -> Params:
    """Return what the model computes with after ``step`` inner steps."""
    return {**point, **norms[min(step, len(norms) - 1)]}


def stepped_path(
    model: nn.Module,
    criterion: Criterion,
    theta: Params,
    rates: Params,
    norms: list[Params],
    batches: list[Data],
    *,
    first_order: bool = False,
) -> list[Params]:
    """Points after 0..K steps, without the norms; what has a rate moves.

    First order: each inner gradient is a constant.
    """
    now, path = dict(theta), [dict(theta)]
    for step, batch in enumerate(batches):
        moving = {name: now[name] for name in rates}
        if first_order:
            moving = leaves(moving)
        loss = loss_at(model, criterion, met_at({**now, **moving}, norms, step), batch)
        grads = gradient(loss, moving, create_graph=not first_order)
        for name, grad in grads.items():
            now[name] = now[name] - at_step(rates[name], step) * grad
        path.append(dict(now))
    return path


def stepped_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    rates: Params,
    norms: list[Params],
    tasks: list[Task],
    *,
    first_order: bool = False,
    weights: list[float] | None = None,
) -> list[Rows]:
    """Gradients of the query loss after step K, or of the weighted sum over all steps.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta; its tensors that the norms replace get zero rows.
        rates: ``[K]`` by name; what has none stays.
        norms: K + 1 dictionaries of scales and shifts.
        tasks: K is the number of batches of a task.
        first_order: Inner gradients are constants.
        weights: v_0..v_{K-1} of the multi-step loss; None: the loss after step K alone.
    """
    found = []
    for task in tasks:
        assert task.query is not None
        theta, rate, norm = leaves(params), leaves(rates), [leaves(entry) for entry in norms]
        path = stepped_path(
            model, criterion, theta, rate, norm, task.batches, first_order=first_order
        )
        counted = [0.0] * (len(path) - 2) + [1.0] if weights is None else weights
        total = next(iter(params.values())).new_zeros(())
        for done, weight in enumerate(counted, start=1):
            total = total + weight * loss_at(
                model, criterion, met_at(path[done], norm, done), task.query
            )
        found.append(
            Rows(_slopes(total, theta), _slopes(total, rate), [_slopes(total, one) for one in norm])
        )
    return found


def stacked_norms(norms: list[Params]) -> Params:
    """Return ``[K + 1, ...]`` by name."""
    return {name: torch.stack([entry[name] for entry in norms]) for name in norms[0]}


def _slopes(total: Tensor, at: Params) -> Params:
    grads = torch.autograd.grad(total, list(at.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(at, grads, strict=True))
