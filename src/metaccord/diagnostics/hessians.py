"""Hessian-vector products of the losses of many tasks at once.

Legend: T tasks, P numbers that move per task. One backward pass through the gradients of the
*sum* over tasks gives the product of every task's Hessian with its own vector. Batch
normalisation uses the statistics of the batch, as during adaptation; dropout is the identity and
there is no autocast.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metaccord import tree
from metaccord.diagnostics.geometry import shaped
from metaccord.errors import UsageError
from metaccord.objective import Objective
from metaccord.tuning import settled
from metaccord.types import Batch, Stacked

_SECOND = (
    "the model or the criterion has an operation without second derivative, which curvature needs: "
    "replace it by plain tensor operations"
)


class Hessians:
    """The Hessians of T losses with respect to what moves, as ``[T, P] -> [T, P]``.

    The graph of the gradients is kept as long as this value lives.

    Args:
        objective: Its criterion is the loss.
        params: Where, ``[T, ...]``; vectors hold these tensors in the order of their names.
        still: The model's other trainable tensors, ``[T, ...]``.
        batch: Examples of T tasks, ``[T, n, ...]``.

    Attributes:
        losses: Loss of each task, ``[T]``.
        gradients: Its gradient, ``[T, P]``.

    Raises:
        UsageError: if an operation is marked as differentiable once only.
    """

    def __init__(self, objective: Objective, params: Stacked, still: Stacked, batch: Batch) -> None:
        plan = replace(objective.plan, compile=False, autocast=False)
        objective = settled(objective.planned(plan))
        self._parts = params, still, batch
        self._objective = objective
        self._at = {k: params[k].detach().requires_grad_() for k in sorted(params)}

        def total(moving: Stacked) -> tuple[Tensor, Tensor]:
            losses = objective.losses({**still, **moving}, batch)
            return losses.sum(), losses.detach()

        self._grads, self.losses = objective.plan.rows(total, self._at, create_graph=True)
        _refuse_once_differentiable(self._grads)
        self.gradients = tree.flat(tree.detached(self._grads))

    def product(self, vectors: Tensor) -> Tensor:
        """Return each task's Hessian times its vector: ``[T, P] -> [T, P]``.

        Raises:
            UsageError: if the model has an operation without second derivative.
        """
        given = shaped(vectors, self._at)
        curved = [k for k, grad in self._grads.items() if grad.requires_grad]
        if not curved:  # the loss is linear in all that moves
            return torch.zeros_like(vectors)
        try:
            found = torch.autograd.grad(
                [self._grads[k] for k in curved],
                tuple(self._at.values()),
                [given[k] for k in curved],
                retain_graph=True,
                materialize_grads=True,
            )
        except RuntimeError as error:
            if "derivative" not in str(error) and "differentiat" not in str(error):
                raise
            raise UsageError(_SECOND + f" ({' '.join(str(error).split())[:200]})") from error
        return tree.flat(dict(zip(self._at, found, strict=True)))

    def only(self, rows: Tensor) -> Hessians:
        """Return the Hessians of some tasks, chosen by index ``[S]``."""
        return Hessians(self._objective, *tree.take(self._parts, rows))


def _refuse_once_differentiable(grads: Stacked) -> None:
    """Look for custom functions marked as such: their second derivative is silently 0."""
    nodes = [grad.grad_fn for grad in grads.values() if grad.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name() == "torch::autograd::Error":
            raise UsageError(f"{_SECOND} (a custom function is marked once_differentiable)")
        fresh = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= fresh
        nodes += fresh
