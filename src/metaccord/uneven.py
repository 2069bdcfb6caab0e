"""Tasks of different sizes: cut to their true sizes, grouped into buckets of equal shape.

Padding cannot be masked away: it shifts batch statistics, and a criterion that takes the mean
over examples is the user's. So each task is sliced, and ``vmap`` gets tasks of one shape only.

Legend: T tasks, n examples of the longest task, s of one task, w its ways.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from metaccord import tree
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.types import Batch, Episode, Tree

Key = tuple[tuple[int, int], ...]
_ALL = -1  # in place of a size or of ways that are not given


def is_uneven(part: Any) -> bool:
    """Say whether a batch, or a batch of an episode, carries true sizes or ways."""
    if isinstance(part, Episode):
        return is_uneven(part.support) or is_uneven(part.query)
    return isinstance(part, Batch) and (
        isinstance(part.sizes, Tensor) or isinstance(part.ways, Tensor)
    )


def alone(task: Any) -> Any:
    """Return one task's batch, or episode, without its padding; anything else as it is.

    ``ways`` stays, as an int: logits are cut by :func:`cut`.
    """
    if isinstance(task, Episode):
        return task._replace(support=alone(task.support), query=alone(task.query))
    if not is_uneven(task):
        return task
    ways = () if isinstance(task.ways, tuple) else int(task.ways)
    if isinstance(task.sizes, tuple):
        return task._replace(ways=ways)
    count = int(task.sizes)
    inputs, targets = tree.mapped(lambda leaf: leaf[:count], (task.inputs, task.targets))
    return Batch(inputs, targets, ways=ways)


def singles(episodes: Episode) -> list[Episode]:
    """Return each task by itself, without padding and without the task axis."""
    return [alone(task) for task in tree.unbind(episodes)]


def cut(outputs: Any, ways: Tensor | int | tuple[()]) -> Any:
    """Return the outputs of one task's own classes: ``[s, ..., classes] -> [s, ..., w]``.

    Args:
        outputs: Of a model that has as many as the largest task needs.
        ways: Classes of this task; ``()`` leaves the outputs as they are.

    Raises:
        UsageError: if the model has fewer outputs, or they are no tensor.
    """
    if isinstance(ways, tuple):
        return outputs
    count = int(ways)
    if not isinstance(outputs, Tensor) or outputs.dim() < 2:
        raise UsageError("a task says how many ways it has, but the outputs are not [n, classes]")
    if count > outputs.shape[-1]:
        raise UsageError(
            f"the model gives {outputs.shape[-1]} classes but a task has {count}: set "
            f"model.ways={count}, the largest number of ways"
        )
    return outputs if count == outputs.shape[-1] else outputs[..., :count]


def padded(rows: Tensor, count: int | None) -> Tensor:
    """Return ``[s, ...]`` followed by zeros, ``[count, ...]``; None: as it is."""
    missing = 0 if count is None else count - rows.shape[0]
    return F.pad(rows, [0, 0] * (rows.dim() - 1) + [0, missing]) if missing else rows


def together(first: Batch, second: Batch) -> Batch:
    """Return the examples of both batches, task by task: ``[T, n + m, ...]``, padding last."""
    pairs = [(batch.inputs, batch.targets) for batch in (first, second)]
    inputs, targets = tree.join(pairs, lambda pair: torch.cat(pair, dim=1))
    if isinstance(first.sizes, tuple) and isinstance(second.sizes, tuple):
        return Batch(inputs, targets, ways=first.ways)
    tasks = tree.tasks_in(targets)
    own, more = (
        torch.full((tasks,), width(b)) if isinstance(b.sizes, tuple) else b.sizes
        for b in (first, second)
    )
    sizes = own + more
    place = torch.arange(int(sizes.max())).expand(tasks, -1)
    gap = torch.where(place < own[:, None], 0, width(first) - own[:, None])
    chosen = torch.where(place < sizes[:, None], place + gap, 0)  # padding repeats an example

    def taken(leaf: Tensor) -> Tensor:
        rows = torch.arange(tasks, device=leaf.device)[:, None]
        return leaf[rows, chosen.to(leaf.device, non_blocking=True)]

    inputs, targets = tree.mapped(taken, (inputs, targets))
    return Batch(inputs, targets, sizes, first.ways)


def width(batch: Batch) -> int:
    """Return n, the number of examples of the longest task, of a stacked batch."""
    return int(pytree.tree_leaves(batch.targets)[0].shape[1])


class Buckets:
    """Tasks grouped by a key, in the order in which the keys are met.

    One permutation there and one back, and none for tasks that stand together already: rows are
    never indexed in a loop, which would cost T zero-filled stacks backward.
    """

    def __init__(self, keys: Sequence[Hashable]) -> None:
        found: dict[Hashable, list[int]] = {}
        for task, key in enumerate(keys):
            found.setdefault(key, []).append(task)
        self._counts = {key: len(tasks) for key, tasks in found.items()}
        order = [task for tasks in found.values() for task in tasks]
        self._order = None if order == sorted(order) else torch.tensor(order)

    def split(self, rows: Tree) -> list[tuple[Tree, Any]]:
        """Return the rows ``[T, ...]`` of each bucket, with its key."""
        if len(self._counts) == 1:  # untouched: not even the order of sums in the backward pass
            return [(rows, next(iter(self._counts)))]
        rows = rows if self._order is None else tree.take(rows, self._order)
        pieces = tree.split(rows, [*self._counts.values()])
        return list(zip(pieces, self._counts, strict=True))

    def join(self, pieces: list[Tree]) -> Tree:
        """Return what was found in each bucket in the order of the tasks."""
        rows = tree.join(pieces, torch.cat)
        return rows if self._order is None else tree.take(rows, self._order.argsort())


def over_tasks(plan: Plan, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fn`` of one task as a function of stacked trees, some of which may be uneven.

    Even batches go straight to :meth:`metaccord.Plan.over_tasks`. Otherwise tasks are sorted into
    buckets of equal sizes and ways (once, by one permutation), each bucket is sliced and goes
    there by itself, and what comes back is put in the order of the tasks.

    Args:
        plan: How to execute.
        fn: Its batches are of one task, without padding; ``ways`` is an int.
    """

    def mapped(*args: Tree) -> Tree:
        if not any(map(is_uneven, args)):
            return plan.over_tasks(fn)(*args)
        tasks = tree.tasks_in(args)
        if plan.size(tasks) == 1:
            return plan.over_tasks(lambda *one: fn(*map(alone, one)))(*args)
        buckets = Buckets(_keys(args, tasks))
        return buckets.join([_bucket(plan, fn, key, piece) for piece, key in buckets.split(args)])

    return mapped


def shapes(episodes: Episode) -> list[Key]:
    """Return sizes and ways of each task: tasks with equal ones may share a ``vmap``."""
    parts, tasks = (episodes.support, episodes.query), tree.tasks_in(episodes)
    return _keys(parts, tasks) if is_uneven(episodes) else [()] * tasks


def _keys(args: Sequence[Tree], tasks: int) -> list[Key]:
    """Return size and ways of each batch of each task."""
    columns: list[list[tuple[int, int]]] = []
    for batch in filter(is_uneven, args):
        sizes, ways = (
            [_ALL] * tasks if isinstance(part, tuple) else part.tolist()
            for part in (batch.sizes, batch.ways)
        )
        most = width(batch)
        if not isinstance(batch.sizes, tuple) and not 1 <= min(sizes) <= max(sizes) <= most:
            raise UsageError(
                f"sizes are {min(sizes)} to {max(sizes)}: a task has at least 1 example, and the "
                f"tensors hold {most}"
            )
        columns.append(list(zip(sizes, ways, strict=True)))
    return list(zip(*columns, strict=True))


def _bucket(plan: Plan, fn: Callable[..., Any], key: Key, args: Tree) -> Tree:
    """Run tasks of equal sizes and ways."""
    shapes = iter(key)
    ways: list[int | tuple[()] | None] = []  # None: no batch, or an even one
    even = []
    for arg in args:
        if is_uneven(arg):
            size, classes = next(shapes)
            arg = arg._replace(sizes=(), ways=())
            even.append(arg if size == _ALL else _first(arg, size))
            ways.append(() if classes == _ALL else classes)
        else:
            even.append(arg)
            ways.append(None)

    def one(*task: Tree) -> Tree:
        pairs = zip(task, ways, strict=True)
        return fn(*(part if w is None else part._replace(ways=w) for part, w in pairs))

    return plan.over_tasks(one)(*even)


def _first(batch: Batch, size: int) -> Batch:
    """Return the first examples of each task; the same tensors if these are all."""
    if size == width(batch):
        return batch
    data = (batch.inputs, batch.targets)
    inputs, targets = tree.mapped(lambda leaf: leaf[:, :size], data)
    return batch._replace(inputs=inputs, targets=targets)
