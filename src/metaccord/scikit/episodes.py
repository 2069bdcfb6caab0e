"""Episodes of the estimators: examples of uneven tasks, with weight 0 where a row is padding.

The network has no layer in which examples meet, so a weight of 0 leaves a row out exactly.
Targets are a dict: ``value`` (a number [n, 1], or a label [n, 1]), ``weight`` [n] and, for
classification, ``allowed`` [n, ways]: the classes that the task has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaccord.errors import DataError, UsageError
from metaccord.scikit.learned import Floats, Scaling
from metaccord.tasks.source import TaskSource
from metaccord.tasks.stream import below
from metaccord.types import Batch, Episode

_FIXED = 3  # words for the keys and for the choice of the task


class Task(NamedTuple):
    """All examples of one task.

    Attributes:
        inputs: ``[n, F]``, scaled.
        values: Scaled targets, or numbers of outputs, ``[n]``.
        allowed: Numbers of the outputs that the task uses; empty for regression.
    """

    inputs: Floats
    values: NDArray[Any]
    allowed: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn(TaskSource):
    """Episodes drawn from data sets, one for each task; support and query share no example.

    Args:
        data: The tasks.
        ways: Outputs of the network; 0: regression.
        permute: Give the classes of a task other outputs in each episode.
        shots, queries: Examples (per class); a task that has fewer gives at most half to the
            support set.
    """

    data: tuple[Task, ...]
    ways: int = 0
    permute: bool = False

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the episodes of a training step; see the base class."""
        if split != "train":
            raise UsageError(f"split is {split!r}: the tasks of meta_fit are all for training")
        most = max(len(task.inputs) for task in self.data)
        raw = self.draws(split, step, tasks, _FIXED + most + self.ways)
        chosen = below(raw[:, _FIXED - 1], len(self.data))
        support, query = [], []
        for row, which in zip(raw[:, _FIXED:], chosen, strict=True):
            task = self.data[which]
            order = np.argsort(row[: len(task.inputs)], kind="stable")
            first, second = self._divided(task.values[order])
            names = self._outputs(task, row[most:])
            support.append(_part(task, order[first], names))
            query.append(_part(task, order[second], names))
        return Episode(padded(support, self.ways), padded(query, self.ways), self.keys(raw))

    def _divided(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of support and query examples, class by class."""
        groups = [np.arange(len(values))]
        if self.ways:
            groups = [np.flatnonzero(values == label) for label in np.unique(values)]
        few = [min(self.shots, len(group) // 2) for group in groups]
        support = [group[:count] for group, count in zip(groups, few, strict=True)]
        rest = [g[c : c + self.queries] for g, c in zip(groups, few, strict=True)]
        return np.concatenate(support), np.concatenate(rest)

    def _outputs(self, task: Task, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return for each output which one takes its place in this episode: ``[ways]``."""
        names = np.arange(self.ways)
        if self.permute:
            count = len(task.allowed)
            names[task.allowed] = task.allowed[np.argsort(words[:count], kind="stable")]
        return names


def _part(task: Task, places: NDArray[np.int64], names: NDArray[np.int64]) -> Task:
    values = task.values[places]
    return Task(task.inputs[places], names[values] if len(names) else values, task.allowed)


def padded(parts: list[Task], ways: int, weights: list[Floats] | None = None) -> Batch:
    """Return tasks of different sizes as one batch, the rows beyond having weight 0.

    Args:
        parts: The examples of each task.
        ways: Outputs of the network; 0: regression.
        weights: Of the examples, ``[n]`` each; None: 1.
    """
    count, most = len(parts), max(len(part.inputs) for part in parts)
    inputs = np.zeros((count, most, parts[0].inputs.shape[1]))
    value = np.zeros((count, most, 1), np.int64 if ways else np.float64)
    weight, allowed = np.zeros((count, most)), np.zeros((count, most, ways), bool)
    for row, part in enumerate(parts):
        size = len(part.inputs)
        inputs[row, :size], value[row, :size, 0] = part.inputs, part.values
        weight[row, :size] = 1.0 if weights is None else weights[row]
        if ways:
            allowed[row][:, part.allowed] = True
            value[row, size:] = part.allowed[0]
    targets = {"value": torch.from_numpy(value), "weight": torch.from_numpy(weight)}
    if ways:
        targets["allowed"] = torch.from_numpy(allowed)
    return Batch(torch.from_numpy(inputs), targets)


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreign(TaskSource):
    """Episodes of any source, in the form of this package: flat features, weights, classes.

    Args:
        source: Where they come from; inputs and targets must be tensors.
        ways: Outputs of the network; 0: regression.
        inputs, targets: How features and targets are scaled.
    """

    source: TaskSource
    ways: int
    inputs: Scaling
    targets: Scaling

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the source's episodes."""
        found = self.source.episodes(split, step, tasks)
        return Episode(self._batch(found.support), self._batch(found.query), found.extra)

    def _batch(self, batch: Batch) -> Batch:
        inputs = torch.from_numpy(self.inputs.apply(flat(batch.inputs, "inputs", 2).numpy()))
        count, most = inputs.shape[:2]
        sizes: Any = getattr(batch, "sizes", ())
        weight = torch.ones(count, most, dtype=torch.float64)
        if len(sizes):
            weight = (torch.arange(most) < sizes[:, None]).double()
        if not self.ways:
            values = self.targets.apply(flat(batch.targets, "targets", 2).numpy())
            return Batch(inputs, {"value": torch.from_numpy(values), "weight": weight})
        ways: Any = getattr(batch, "ways", ())
        known = torch.as_tensor(ways)[:, None] if len(ways) else torch.tensor([[self.ways]])
        allowed = (torch.arange(self.ways) < known).expand(count, self.ways)
        labels = torch.where(weight > 0, batch.targets, 0)
        if int(labels.max()) >= self.ways or int(labels.min()) < 0:
            raise DataError(
                f"a task has the label {int(labels.max())}, but the first tasks have "
                f"{self.ways} classes: a source gives labels from 0 to its number of ways - 1"
            )
        allowed = allowed[:, None].expand(count, most, self.ways)
        return Batch(inputs, {"value": labels[..., None], "weight": weight, "allowed": allowed})


def flat(leaf: Any, name: str, axes: int) -> Tensor:
    """Return ``[T, n, F]`` in float64, all axes but the first ones flattened.

    Raises:
        UsageError: for a tuple or a dict of tensors, which have no columns.
    """
    if not isinstance(leaf, Tensor):
        raise UsageError(
            f"the source's {name} are a {type(leaf).__name__} of tensors: the estimators take "
            "one tensor of features; use metaccord.train with a model of your own"
        )
    return leaf.reshape(*leaf.shape[:axes], -1).double()
