"""Helpers of the twins whose tasks influence one another.

Names are those of the module, without the prefix ``model.``.
"""

import torch
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, Task, loss_at
from tests.reference.rules import Params


def gradients(loss: Tensor, groups: list[Params]) -> list[Params]:
    """Gradients by several dictionaries of leaves at once; zero where the loss uses none."""
    flat = {(i, name): tensor for i, group in enumerate(groups) for name, tensor in group.items()}
    grads = torch.autograd.grad(loss, list(flat.values()), materialize_grads=True)
    found: list[Params] = [{} for _ in groups]
    for (i, name), grad in zip(flat, grads, strict=True):
        found[i][name] = grad
    return found


def detached(params: Params) -> Params:
    """The values alone."""
    return {name: tensor.detach() for name, tensor in params.items()}


def mean_of(vectors: list[Params]) -> Params:
    """(1/N) sum_j v_j by name, over all tasks."""
    return {name: torch.stack([v[name] for v in vectors]).mean(0) for name in vectors[0]}


def query_losses(
    model: nn.Module, criterion: Criterion, solutions: list[Params], tasks: list[Task]
) -> list[Tensor]:
    """L_{Q_i}(theta_i) of every task."""
    return [
        loss_at(model, criterion, solution, query(task))
        for solution, task in zip(solutions, tasks, strict=True)
    ]


def query(task: Task) -> Data:
    """Q_i."""
    assert task.query is not None
    return task.query
