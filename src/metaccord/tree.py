"""The only loops over dicts of tensors: naming, stacking, splitting and vector algebra.

Legend: T tasks, P numbers per task. A stacked dict holds ``[T, ...]`` under each name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord.types import Batch, Params, Stacked, Tree


def scope(tensors: Params, prefix: str) -> Params:
    """Return the tensors below ``prefix.``, with the prefix removed."""
    start = len(prefix) + 1
    return {k[start:]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def under(tensors: Params, prefix: str) -> Params:
    """Return the same tensors with ``prefix.`` put in front of each name."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def tasks_in(tree: Tree) -> int:
    """Return T, the length of the first axis of the first leaf."""
    return int(pytree.tree_leaves(tree)[0].shape[0])


def expand(tensors: Params, count: int) -> Stacked:
    """Return a view with ``count`` equal rows: ``[...] -> [count, ...]``."""
    return {k: v.expand(count, *v.shape) for k, v in tensors.items()}


def detached(tree: Tree) -> Tree:
    """Return the tree without its graph."""
    return pytree.tree_map_only(Tensor, Tensor.detach, tree)


def mapped(fn: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Return the tree with ``fn`` applied to each tensor."""
    return pytree.tree_map_only(Tensor, fn, tree)


def split(tree: Tree, size: int | list[int]) -> list[Tree]:
    """Cut the task axis into pieces of ``size`` rows (the last may be shorter), or of these."""
    leaves, spec = pytree.tree_flatten(tree)
    columns = [leaf.split(size) for leaf in leaves]
    return [pytree.tree_unflatten(list(row), spec) for row in zip(*columns, strict=True)]


def unbind(tree: Tree) -> list[Tree]:
    """Return one tree per task, without the task axis.

    One ``unbind`` per leaf: indexing rows in a loop would cost T zero-filled stacks backward.
    """
    leaves, spec = pytree.tree_flatten(tree)
    if leaves[0].shape[0] == 1:  # a view backward, too: nothing is copied
        return [pytree.tree_unflatten([leaf.squeeze(0) for leaf in leaves], spec)]
    columns = [leaf.unbind() for leaf in leaves]
    return [pytree.tree_unflatten(list(row), spec) for row in zip(*columns, strict=True)]


def join(trees: list[Tree], how: Callable[[list[Tensor]], Tensor]) -> Tree:
    """Combine equal trees leaf by leaf with ``torch.stack`` or ``torch.cat``."""
    if len(trees) == 1 and how is torch.cat:
        return trees[0]
    if len(trees) == 1:
        return mapped(lambda leaf: leaf.unsqueeze(0), trees[0])
    columns = zip(*(pytree.tree_leaves(tree) for tree in trees), strict=True)
    _, spec = pytree.tree_flatten(trees[0])
    joined = [how(list(column)) if column[0] is not None else None for column in columns]
    return pytree.tree_unflatten(joined, spec)


def difference(a: Stacked, b: Stacked) -> Stacked:
    """Return ``a - b`` for the names of ``a``."""
    return {k: v - b[k] for k, v in a.items()}


def plus(a: Stacked, b: Stacked) -> Stacked:
    """Return ``a + b`` for the names of ``a``."""
    return {k: v + b[k] for k, v in a.items()}


def scale(rows: Stacked, factors: Tensor) -> Stacked:
    """Multiply row ``i`` of each tensor by ``factors[i]``: ``[T, ...], [T] -> [T, ...]``."""
    return {k: v * factors.view(-1, *[1] * (v.dim() - 1)) for k, v in rows.items()}


def flat(rows: Stacked) -> Tensor:
    """Return one vector per task: ``[T, P]``, the tensors in the order of their names."""
    return torch.cat([rows[k].reshape(len(rows[k]), -1) for k in sorted(rows)], dim=1)


def first(rows: Stacked) -> Params:
    """Return row 0 of each tensor."""
    return {k: v[0] for k, v in rows.items()}


def dot(a: Stacked, b: Stacked) -> Tensor:
    """Return the inner product of each pair of rows: ``[T]``."""
    return cast(Tensor, sum((a[k] * b[k]).reshape(len(a[k]), -1).sum(1) for k in a))


def norm(rows: Stacked) -> Tensor:
    """Return the Euclidean length of each row: ``[T]``."""
    return dot(rows, rows).sqrt()


def take(tree: Tree, rows: Tensor) -> Tree:
    """Return some rows of each leaf, in this order: ``[T, ...], [S] -> [S, ...]``."""
    return mapped(lambda leaf: leaf.index_select(0, rows.to(leaf.device, non_blocking=True)), tree)


def to(tree: Tree, device: torch.device) -> Tree:
    """Return the tree on ``device``; true sizes and ways of batches stay on the CPU."""

    def moved(part: Tensor | Batch) -> Tensor | Batch:
        if isinstance(part, Batch):
            return part._replace(inputs=to(part.inputs, device), targets=to(part.targets, device))
        return part.to(device, non_blocking=device.type != "cpu")  # a host reads what has arrived

    found: Tree = pytree.tree_map_only(
        (Tensor, Batch), moved, tree, is_leaf=lambda part: isinstance(part, Batch)
    )
    return found


def common_length(trees: Iterable[Any]) -> set[int]:
    """Return the lengths of the first axes of all leaves of all trees."""
    return {
        int(leaf.shape[0]) if leaf.dim() else -1
        for tree in trees
        for leaf in pytree.tree_leaves(tree)
    }
