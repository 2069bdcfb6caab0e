"""A quick look at the model, the criterion and the first episodes before a training."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from metaccord import tree, uneven
from metaccord.derivatives import derivatives
from metaccord.differences import doubled, widened
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Implicit
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.types import Batch, Episode, MetaState, Params

log = logging.getLogger("metaccord")
_FAULTY = (RuntimeError, TypeError, ValueError, IndexError)
_EXAMPLES = 5  # examples of one task are enough to see a cut graph


def inspect(
    objective: Objective, state: MetaState, episodes: Episode, method: Method | None = None
) -> None:
    """Check shapes and gradients on the first task, without ``vmap``.

    Args:
        objective, state, episodes: As for :func:`metaccord.meta_gradient`.
        method: If it differentiates twice, so does this, in float64 and against differences: a
            cut graph, which would give another order than meant, is warned of.

    Raises:
        UsageError: if the model or the criterion fails or has an output of the wrong shape, if a
            trainable parameter receives no gradient and is not declared in
            ``Objective(unused=...)``, or if an operation has no second derivative.
    """
    task = uneven.alone(tree.unbind(tree.split(episodes, 1)[0])[0])
    loss, params = forward(objective, tree.scope(state.params, "model"), task)
    names = idle(objective, params, loss)
    if len(names) == len(params):
        raise UsageError("the loss does not depend on any trainable parameter: no detach() inside?")
    if names:
        raise UsageError(
            f"parameter {names[0]!r} never receives a gradient ({len(names)} in all): remove it, "
            f"freeze it with requires_grad=False, or declare Objective(unused={tuple(names)!r})"
        )
    if method is not None and differentiates_twice(method):
        _second_order(objective, state, task)


def forward(objective: Objective, params: Params, task: Episode) -> tuple[Tensor, Params]:
    """Return the support loss of one task with its graph, and the leaves of that graph.

    Raises:
        UsageError: if the model or the criterion fails or has an output of the wrong shape.
    """
    params = {k: v.detach().requires_grad_() for k, v in params.items()}
    try:
        outputs = objective.predict(params, task.support.inputs)
    except _FAULTY as error:
        shape = pytree.tree_map_only(Tensor, lambda t: tuple(t.shape), task.support.inputs)
        raise UsageError(
            f"the model fails on inputs of shape {shape}: {_one_line(error)}"
        ) from error
    outputs = uneven.cut(outputs, task.support.ways)
    _same_shape(outputs, task.support.targets)
    try:
        loss: Any = objective.criterion(outputs, task.support.targets)
    except _FAULTY as error:
        raise UsageError(
            f"the criterion fails on outputs {_shape(outputs)} and targets "
            f"{_shape(task.support.targets)}: {_one_line(error)}"
        ) from error
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UsageError(f"the criterion gives {found}, expected one number: use mean reduction")
    return loss, params


def idle(objective: Objective, params: Params, loss: Tensor) -> list[str]:
    """Return the trainable parameters that receive no gradient and are not declared."""
    if not loss.requires_grad:
        return [*params]
    leaves = tuple(params.values())
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [
        name
        for name, grad in zip(params, grads, strict=True)
        if grad is None and name not in objective.unused
    ]


def differentiates_twice(method: Method) -> bool:
    """Say whether the method takes second derivatives of the user's losses, now or later."""
    estimator = method.estimator
    if isinstance(estimator, MAML):
        return not estimator.first_order or estimator.second_order_from is not None
    return isinstance(estimator, Implicit)


def _second_order(objective: Objective, state: MetaState, task: Episode) -> None:
    """Compare derivatives of a few examples' loss with differences, on a float64 copy."""
    few = task.support
    data = (few.inputs, few.targets)
    if len(tree.common_length(data)) == 1:  # every leaf is made of examples
        inputs, targets = tree.mapped(lambda leaf: leaf[:_EXAMPLES], data)
        few = Batch(inputs, targets, ways=few.ways)
    key = task.extra.get("dropout") if objective.draws else None
    criterion: Any = objective.criterion
    criterion = doubled(criterion) if isinstance(criterion, nn.Module) else criterion
    params = widened(tree.scope(state.params, "model"))
    try:
        twin = Objective(doubled(objective.model), criterion, unused=objective.unused)
        found = derivatives(twin, params, widened(few), key, count=1, levels=4)
    except _FAULTY as error:
        log.info("second derivatives were not checked: %s", _one_line(error))
        return
    if found.refused:
        raise UsageError(
            f"the model or the criterion has no second derivative ({found.refused}): write the "
            "operation in plain tensor operations, or use fomaml() or reptile()"
        )
    if (found.cut or found.bent) and not found.kinks:
        what = "gradient" if found.cut else "second derivative"
        log.warning(
            "the %s of the loss differs from finite differences by %.0e: something cuts the graph "
            "(detach(), .data, a hand-written backward), so this is not second order; "
            "metaccord.check names it",
            what,
            found.first if found.cut else found.second,
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
