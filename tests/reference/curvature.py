"""Slow, obvious twins of the measurements: dense Hessians, pairs by double loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.reference.inner import Criterion, Data, gradient, leaves, loss_at
from tests.reference.rules import Params


def flat(params: Params) -> Tensor:
    """All entries one behind the other, the tensors in the order of their names: ``[P]``."""
    return torch.cat([params[name].reshape(-1) for name in sorted(params)])


def flat_gradient(
    model: nn.Module, criterion: Criterion, params: Params, data: Data, moving: list[str]
) -> Tensor:
    """Gradient of one task's loss with respect to the named tensors, ``[P]``."""
    at = leaves(params)
    loss = loss_at(model, criterion, at, data)
    return flat(gradient(loss, {name: at[name] for name in moving}, create_graph=False))


def dense_hessian(
    model: nn.Module, criterion: Criterion, params: Params, data: Data, moving: list[str]
) -> Tensor:
    """Hessian of one task's loss, row by row: derivative of each entry of the gradient, [P, P]."""
    at = leaves(params)
    moved = {name: at[name] for name in moving}
    slope = flat(gradient(loss_at(model, criterion, at, data), moved, create_graph=True))
    rows = []
    for entry in slope:
        if not entry.requires_grad:
            rows.append(torch.zeros_like(slope))
            continue
        found = torch.autograd.grad(
            entry, tuple(moved.values()), retain_graph=True, materialize_grads=True
        )
        rows.append(flat(dict(zip(moved, found, strict=True))))
    return torch.stack(rows).detach()


def mean_over_pairs(vectors: list[Tensor], *, unit: bool = False) -> float:
    """Mean inner product (or cosine) over all i != j; vectors of length zero have no cosine."""
    kept = [v for v in vectors if not unit or float(v.norm()) != 0]
    found = []
    for i, x in enumerate(kept):
        for j, y in enumerate(kept):
            if i == j:
                continue
            product = float(x.double() @ y.double())
            found.append(
                product / float(x.double().norm() * y.double().norm()) if unit else product
            )
    return math.fsum(found) / len(found)


def jackknife_error(vectors: list[Tensor], blocks: int) -> float:
    """Standard error of ``mean_over_pairs`` by leaving out blocks (Busing et al. 1999, Eq. 4)."""
    n = len(vectors)
    groups = [g for g in ([i for i in range(n) if i % blocks == b] for b in range(blocks)) if g]
    whole = mean_over_pairs(vectors)
    without = [mean_over_pairs([vectors[i] for i in range(n) if i not in g]) for g in groups]
    centre = len(groups) * whole
    for group, value in zip(groups, without, strict=True):
        centre -= (1 - len(group) / n) * value
    total = 0.0
    for group, value in zip(groups, without, strict=True):
        h = n / len(group)
        total += (h * whole - (h - 1) * value - centre) ** 2 / (h - 1)
    return math.sqrt(total / len(groups))
