"""Whether the loss of one task has the derivatives that autograd says it has.

The gradient is compared with differences of the loss, and a Hessian product with differences of
the gradient. Both are taken in float64, with smooth twins of kinks, so a sound model agrees to
many digits and a cut graph is off by much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metaccord.differences import LEVELS, Smooth, Wide, along, directions, dot, slope
from metaccord.objective import Objective
from metaccord.types import Batch, Params

WRONG = 1e-4  # relative; sound models are below 1e-6, cut graphs above 1e-2
_FLOOR = 1e-6  # of the loss: smaller slopes are rounding


class Derivatives(NamedTuple):
    """Relative errors of autograd's derivatives of a loss.

    Attributes:
        first: Of the gradient, against differences of the loss.
        second: Of the Hessian, against differences of the gradient; NaN if ``refused``.
        tensors: Names of the tensors whose gradients are wrong.
        refused: What autograd says if it has no second derivative.
        kinks: Functions with kinks that have no smooth twin: small errors mean nothing then.
    """

    first: float
    second: float
    tensors: tuple[str, ...]
    refused: str
    kinks: frozenset[str]

    @property
    def cut(self) -> bool:
        """Whether something cuts the gradient."""
        return self.first > WRONG

    @property
    def bent(self) -> bool:
        """Whether the gradient is right and its derivative wrong."""
        return not self.cut and self.second > WRONG


def derivatives(
    objective: Objective,
    params: Params,
    batch: Batch,
    key: Tensor | None,
    *,
    count: int = 3,
    levels: int = LEVELS,
) -> Derivatives:
    """Compare both derivatives of one task's loss with differences.

    Args:
        objective: In float64.
        params: Trainable tensors of the model, float64, without prefix.
        batch: The task's examples, float64, ``[n, ...]``.
        key: Of the dropout masks, or None.
        count: Number of random directions.
        levels: Number of halved steps of the differences.
    """
    task = _Task(objective, params, batch, key, levels)
    with Wide(), Smooth() as smooth:
        chosen = directions(params, count)
        grads, product, refused = task.products(chosen[0])
        errors = [task.first(d, grads) for d in chosen]
        error = min(errors) if smooth.kinks else max(errors, key=_rank)
        tensors: tuple[str, ...] = ()
        if error > WRONG:
            tensors = tuple(
                name for name in params if task.first(_only(chosen[0], name), grads) > WRONG
            )
        second = math.nan if refused else task.second(chosen, product)
    return Derivatives(error, second, tensors, refused, frozenset(smooth.kinks))


def once_differentiable(grads: list[Tensor]) -> bool:
    """Say whether a graph holds a function that is marked as differentiable once only."""
    nodes = [grad.grad_fn for grad in grads if grad.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name() == "torch::autograd::Error":
            return True
        fresh = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= fresh
        nodes += fresh
    return False


@dataclass(frozen=True)
class _Task:
    """The loss of one task as a function of the parameters."""

    objective: Objective
    params: Params
    batch: Batch
    key: Tensor | None
    levels: int

    def loss(self, params: Params) -> float:
        """Return the loss."""
        with torch.no_grad():
            return float(self.objective.loss(params, self.batch, self.key))

    def gradient(self, params: Params, *, create_graph: bool = False) -> tuple[Params, Params]:
        """Return autograd's gradient and the leaves with respect to which it was taken."""
        at = {k: v.detach().requires_grad_() for k, v in params.items()}
        loss = self.objective.loss(at, self.batch, self.key)
        if not loss.requires_grad:
            return {k: torch.zeros_like(v) for k, v in params.items()}, at
        found = torch.autograd.grad(
            loss, tuple(at.values()), create_graph=create_graph, materialize_grads=True
        )
        return dict(zip(at, found, strict=True)), at

    def products(self, direction: Params) -> tuple[Params, Params, str]:
        """Return the gradient, the Hessian times ``direction``, and why there is none, if so."""
        grads, at = self.gradient(self.params, create_graph=True)
        plain = {k: g.detach() for k, g in grads.items()}
        zeros = {k: torch.zeros_like(v) for k, v in plain.items()}
        if once_differentiable([*grads.values()]):
            return plain, zeros, "a custom function is marked once_differentiable"
        curved = [k for k, g in grads.items() if g.requires_grad]
        if not curved:
            return plain, zeros, ""
        try:
            found = torch.autograd.grad(
                [grads[k] for k in curved],
                tuple(at.values()),
                [direction[k] for k in curved],
                materialize_grads=True,
            )
        except RuntimeError as error:
            if "derivative" not in str(error) and "differentiat" not in str(error):
                raise
            return plain, zeros, " ".join(str(error).split())[:200]
        return plain, dict(zip(at, found, strict=True)), ""

    def first(self, direction: Params, grads: Params) -> float:
        """Return the relative error of the gradient along one direction."""
        floor = _FLOOR * abs(self.loss(self.params))
        numeric = slope(
            lambda h: self.loss(along(self.params, direction, h)), self.levels, floor=floor
        )
        return _relative(dot(grads, direction), numeric, floor)

    def second(self, chosen: list[Params], product: Params) -> float:
        """Return the error of u'Hv for v the first direction and u each of them."""
        seen: dict[float, Params] = {}

        def projected(distance: float, u: Params) -> float:
            if distance not in seen:
                seen[distance], _ = self.gradient(along(self.params, chosen[0], distance))
            return dot(seen[distance], u)

        floor = _FLOOR * max(abs(projected(0.0, u)) for u in chosen)
        numeric = [
            slope(lambda h, u=u: projected(h, u), self.levels, floor=floor)  # type: ignore[misc]
            for u in chosen
        ]
        own = [dot(product, u) for u in chosen]
        scale = max(floor, *map(abs, numeric))
        return max((_relative(a, b, scale) for a, b in zip(own, numeric, strict=True)), key=_rank)


def _relative(own: float, numeric: float, floor: float) -> float:
    scale = max(abs(numeric), floor)
    return abs(own - numeric) / scale if scale else abs(own)


def _rank(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _only(direction: Params, name: str) -> Params:
    return {k: v if k == name else torch.zeros_like(v) for k, v in direction.items()}
