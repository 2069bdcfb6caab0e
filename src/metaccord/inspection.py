"""A quick look at the model, the criterion and the first episodes before a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord import tree
from metaccord.errors import UsageError
from metaccord.objective import Objective
from metaccord.types import Episode, MetaState


def inspect(objective: Objective, state: MetaState, episodes: Episode) -> None:
    """Check shapes and gradients on the first task, without ``vmap``.

    Raises:
        UsageError: if the model or the criterion fails or has an output of the wrong shape, or
            if a trainable parameter receives no gradient and is not declared in
            ``Objective(unused=...)``.
    """
    params = {k: v.detach().requires_grad_() for k, v in tree.scope(state.params, "model").items()}
    task = tree.unbind(tree.split(episodes, 1)[0])[0]
    try:
        outputs = objective.predict(params, task.support.inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shape = pytree.tree_map_only(Tensor, lambda t: tuple(t.shape), task.support.inputs)
        raise UsageError(
            f"the model fails on inputs of shape {shape}: {_one_line(error)}"
        ) from error
    _same_shape(outputs, task.support.targets)
    try:
        loss: Any = objective.criterion(outputs, task.support.targets)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise UsageError(
            f"the criterion fails on outputs {_shape(outputs)} and targets "
            f"{_shape(task.support.targets)}: {_one_line(error)}"
        ) from error
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UsageError(f"the criterion gives {found}, expected one number: use mean reduction")
    if not loss.requires_grad:
        raise UsageError("the loss does not depend on any trainable parameter: no detach() inside?")
    leaves = tuple(params.values())
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(loss, leaves, allow_unused=True)
    idle = [
        name
        for name, grad in zip(params, grads, strict=True)
        if grad is None and name not in objective.unused
    ]
    if idle:
        raise UsageError(
            f"parameter {idle[0]!r} never receives a gradient ({len(idle)} in all): remove it, "
            f"freeze it with requires_grad=False, or declare Objective(unused={tuple(idle)!r})"
        )


def _same_shape(outputs: object, targets: object) -> None:
    """Refuse regression outputs that broadcast against their targets."""
    if not isinstance(outputs, Tensor):
        return
    if not isinstance(targets, Tensor):
        return
    if targets.is_floating_point() and outputs.shape != targets.shape:
        raise UsageError(
            f"the model gives outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}: "
            "the shapes must be equal, or the loss would broadcast silently"
        )
    if not targets.is_floating_point() and outputs.dim() == 2 and targets.numel():
        top = int(targets.max())
        if top >= outputs.shape[1]:
            raise UsageError(
                f"the model gives {outputs.shape[1]} classes but a label is {top}: set "
                f"model.ways={top + 1}"
            )


def _shape(found: object) -> object:
    return tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
