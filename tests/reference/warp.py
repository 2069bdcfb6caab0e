"""Slow twin of WarpGrad: task tensors move inside, warp tensors phi only outside.

States theta_0..theta_{K-1} of the inner run are constants (nothing is differentiated through
the path); phi sees one differentiable step from each of them.
"""

from collections.abc import Callable

import torch
from torch import nn

from tests.reference.inner import Criterion, Data, Task, adapt, always, gradient, leaves, loss_at
from tests.reference.loops import fomaml_rows, maml_rows
from tests.reference.rules import Params


def warp_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    lr: float,
    *,
    warps: Callable[[str], bool],
    moves: Callable[[str], bool] = always,
    first_order: bool = False,
    first_order_start: bool = False,
) -> list[Params]:
    """Rows of Warp-MAML: the warp objective by phi, MAML's by the task tensors.

    Row of phi = d/dphi (1/K) sum_{k<K} L_Q(theta_k - lr grad L_S(theta_k; phi); phi), each
    theta_k a constant: the mean over states (the paper sums them), step k on its own batch.
    Row of theta = MAML's through all K steps with phi constant.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta and phi together.
        tasks: K is the number of batches of a task, at least one.
        lr: Inner rate alpha, also of the lookahead.
        warps: Which names are phi.
        moves: Which task tensors the inner loop changes; phi never moves. A task tensor that
            stands still has MAML's row.
        first_order: The point after the lookahead is a constant (eq. 12), so that phi's row is
            the mean of its direct gradients at theta_1..theta_K.
        first_order_start: The rows of the task tensors are FOMAML's.
    """

    def inside(name: str) -> bool:
        return moves(name) and not warps(name)

    start = fomaml_rows if first_order_start else maml_rows
    rows = start(model, criterion, params, tasks, lr, moves=inside)
    for row, task in zip(rows, tasks, strict=True):
        states = adapt(
            model, criterion, params, task.batches, lr, moves=inside, create_graph=False
        ).path[:-1]
        phi = leaves({name: params[name] for name in filter(warps, params)})
        loss = warp_loss(model, criterion, states, phi, task, lr, inside, first_order=first_order)
        row.update(gradient(loss, phi, create_graph=False))
    return rows


def warp_loss(
    model: nn.Module,
    criterion: Criterion,
    states: list[Params],
    phi: Params,
    task: Task,
    lr: float,
    inside: Callable[[str], bool],
    *,
    first_order: bool = False,
) -> torch.Tensor:
    """The warp objective of one task as a function of phi; ``states`` are constants."""
    assert task.query is not None
    total = next(iter(phi.values())).new_zeros(())
    for state, batch in zip(states, task.batches, strict=True):
        ahead = _lookahead(model, criterion, state, phi, batch, lr, inside)
        if first_order:
            ahead = {name: tensor.detach() for name, tensor in ahead.items()}
        total = total + loss_at(model, criterion, {**ahead, **phi}, task.query)
    return total / len(states)


def _lookahead(
    model: nn.Module,
    criterion: Criterion,
    state: Params,
    phi: Params,
    batch: Data,
    lr: float,
    inside: Callable[[str], bool],
) -> Params:
    """One step from ``state``, as a function of phi alone."""
    now = leaves(state)
    moved = {name: tensor for name, tensor in now.items() if inside(name)}
    loss = loss_at(model, criterion, {**now, **phi}, batch)
    after = dict(state)
    for name, grad in gradient(loss, moved, create_graph=True).items():
        after[name] = state[name] - lr * grad
    return after
