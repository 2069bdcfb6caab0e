"""Slow twin of MGAug: the base's meta-gradient plus those of pruned copies, with given masks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, Task, always, gradient, leaves, loss_at
from tests.reference.loops import fomaml_rows, maml_rows
from tests.reference.rules import Params


def mgaug_rows(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    tasks: list[Task],
    masks: list[list[Params]],
    lr: float,
    *,
    first_order: bool = False,
    moves: Callable[[str], bool] = always,
    maxup: bool = False,
) -> list[Params]:
    """Row = base row + sum_s d/dtheta L_Q(adapt(mask_s * theta)); inner gradients masked too.

    Args:
        model: Any module.
        criterion: ``criterion(outputs, targets)``, a scalar.
        params: theta.
        tasks: K is the number of batches of a task.
        masks: 0/1 by name for each task and copy; a name without a mask is kept whole.
        lr: Inner rate alpha.
        first_order: The base is FOMAML, and a copy adds mask * grad L_Q at its solution.
        moves: Which names the inner loop changes; masks act on the others as well.
        maxup: Add only the copy with the largest query loss after adaptation, chosen among the
            pruned copies (the base is always there); the first one of equals.
    """
    base = fomaml_rows if first_order else maml_rows
    rows = base(model, criterion, params, tasks, lr, moves=moves)
    for row, task, copies in zip(rows, tasks, masks, strict=True):
        found = [
            pruned_row(model, criterion, params, task, mask, lr, moves, first_order=first_order)
            for mask in copies
        ]
        if maxup and found:
            losses = torch.stack([loss for loss, _ in found])
            found = [found[int(torch.argmax(losses))]]
        for _, extra in found:
            for name in row:
                row[name] = row[name] + extra[name]
    return rows


def pruned_row(
    model: nn.Module,
    criterion: Criterion,
    params: Params,
    task: Task,
    mask: Params,
    lr: float,
    moves: Callable[[str], bool] = always,
    *,
    first_order: bool = False,
) -> tuple[Tensor, Params]:
    """Query loss of one adapted copy, and its gradient by theta: zero where it is pruned."""
    theta = leaves(params)
    now = _masked(theta, mask)  # w_0 = D theta
    for batch in task.batches:
        at = leaves(now) if first_order else now
        moved = {name: tensor for name, tensor in at.items() if moves(name)}
        loss = loss_at(model, criterion, at, batch)
        grads = _masked(gradient(loss, moved, create_graph=not first_order), mask)
        now = dict(now)
        for name, grad in grads.items():
            now[name] = now[name] - lr * grad  # w_{k+1} = w_k - alpha D r_k
    query: Data | None = task.query
    assert query is not None
    loss = loss_at(model, criterion, now, query)
    return loss.detach(), gradient(loss, theta, create_graph=False)


def _masked(tensors: Params, mask: Params) -> Params:
    """Multiply by 0 and 1; tensors without a mask stay whole."""
    return {
        name: tensor * mask[name] if name in mask else tensor for name, tensor in tensors.items()
    }
