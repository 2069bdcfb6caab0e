"""A cheap look at what a source of tasks gives, before anything is computed with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord.errors import DataError
from metaccord.tasks.source import TaskSource
from metaccord.types import Batch, Episode


def checked(source: TaskSource, split: str, step: int, tasks: range) -> Episode:
    """Return the episodes of some tasks of a step if they have the right form.

    Args:
        source: Where they come from.
        split, step, tasks: As for :meth:`TaskSource.episodes`.

    Raises:
        DataError: if they are no episode, hold something else than tensors, have not one row per
            task or no example, or if the source ended.
    """
    where = f"{type(source).__name__}.episodes({split!r}, {step}, {tasks})"
    try:
        found: Any = source.episodes(split, step, tasks)
    except StopIteration as error:
        raise DataError(f"{where} ended: a source gives tasks for every step") from error
    if not isinstance(found, Episode):
        raise DataError(f"{where} gives {type(found).__name__}: return a metaccord.Episode")
    for name in ("support", "query"):
        _check(f"{where}.{name}", getattr(found, name), len(tasks))
        _check_uneven(f"{where}.{name}", getattr(found, name), len(tasks))
    _same_ways(where, found)
    for name, leaf in found.extra.items():
        _rows(f"{where}.extra[{name!r}]", leaf, len(tasks), 1)
    return found


def drifts(source: TaskSource, step: int, tasks: range, found: Episode) -> bool:
    """Say whether some tasks of a training step, asked for again, hold other examples.

    Args:
        source, step, tasks: As for :meth:`TaskSource.episodes`.
        found: What the source gave for them before.
    """
    again = checked(source, "train", step, tasks)
    pairs = zip(*(pytree.tree_leaves(x) for x in (found, again)), strict=True)
    return any(_bytes(old) != _bytes(new) for old, new in pairs)


def _bytes(leaf: Tensor) -> bytes:
    return leaf.detach().cpu().contiguous().numpy().tobytes()


def _check(where: str, batch: Any, count: int) -> None:
    """Raise DataError unless inputs and targets are made of ``count`` rows of as many examples."""
    if not isinstance(batch, Batch):
        raise DataError(f"{where} is {type(batch).__name__}: use metaccord.Batch(inputs, targets)")
    lengths = []
    for part in ("inputs", "targets"):
        leaves = pytree.tree_leaves(getattr(batch, part))
        for leaf in leaves or [None]:
            _rows(f"{where}.{part}", leaf, count, 2)
        lengths.append({int(leaf.shape[1]) for leaf in leaves})
    inputs, targets = lengths
    if 0 in inputs | targets:
        raise DataError(f"{where} is empty: a task needs at least one example")
    if not inputs & targets:
        raise DataError(
            f"{where} has inputs of {sorted(inputs)} and targets of {sorted(targets)} examples: "
            "they need one common length"
        )


def _rows(where: str, leaf: Any, count: int, axes: int) -> None:
    if not isinstance(leaf, Tensor):
        raise DataError(f"{where} holds {type(leaf).__name__}: use tensors, torch.as_tensor(...)")
    if leaf.dim() < axes or leaf.shape[0] != count:
        expected = f"[{count}, n, ...]" if axes > 1 else f"[{count}, ...]"
        raise DataError(f"{where} has shape {list(leaf.shape)}, not {expected}: one row per task")


def _check_uneven(where: str, batch: Batch, count: int) -> None:
    """Raise DataError unless true sizes and ways, if there are any, fit the tensors."""
    for name in ("sizes", "ways"):
        given: Any = getattr(batch, name)
        if given == ():
            continue
        if not isinstance(given, Tensor) or given.dtype != torch.int64 or given.is_cuda:
            found = f"{given.dtype} on {given.device}" if isinstance(given, Tensor) else given
            raise DataError(
                f"{where}.{name} is {found}: give int64 numbers [{count}] on the CPU, "
                f"torch.tensor([...]), or ()"
            )
        if tuple(given.shape) != (count,) or int(given.min()) < 1:
            raise DataError(
                f"{where}.{name} is {given.tolist()}: give one number of at least 1 for each of "
                f"{count} tasks"
            )
    lengths = {int(leaf.shape[1]) for leaf in pytree.tree_leaves((batch.inputs, batch.targets))}
    if isinstance(batch.sizes, Tensor) and (
        len(lengths) > 1 or int(batch.sizes.max()) > max(lengths)
    ):
        raise DataError(
            f"{where}.sizes reach {int(batch.sizes.max())} but the tensors hold {sorted(lengths)} "
            "examples: all need one length, that of the longest task"
        )
    if isinstance(batch.ways, Tensor):
        _labels_below(where, batch, batch.ways)


def _labels_below(where: str, batch: Batch, ways: Tensor) -> None:
    """Raise DataError if a true label is not one of its task's ways."""
    targets: Any = batch.targets
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        raise DataError(f"{where} has ways, but its targets are no labels: leave ways out")
    labels = targets.reshape(*targets.shape[:2], -1).cpu()
    bad = (labels < 0) | (labels >= ways[:, None, None])
    if isinstance(batch.sizes, Tensor):
        bad &= (torch.arange(labels.shape[1]) < batch.sizes[:, None])[..., None]
    if bool(bad.any()):
        task = int(bad.flatten(1).any(1).nonzero()[0])
        raise DataError(
            f"{where}.targets of task {task} has the label {int(labels[task][bad[task]][0])} but "
            f"{int(ways[task])} ways: labels are 0 to ways - 1"
        )


def _same_ways(where: str, found: Episode) -> None:
    ways = [found.support.ways, found.query.ways]
    given = [part for part in ways if isinstance(part, Tensor)]
    if len(given) == 1 or (given and not torch.equal(*given)):
        raise DataError(f"{where} has other ways in support than in query: give both the same")
