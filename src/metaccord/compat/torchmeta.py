"""Torchmeta's batches ``{"train": (X, y), "test": (X, y)}`` as episodes, and its loaders as tasks.

Written anew after the documentation of tristandeleu/pytorch-meta 1.8. Torchmeta's ``Meta`` layers
have no counterpart, because any module can be adapted.

Example:
    >>> import torch
    >>> from metaccord.compat import torchmeta
    >>> batch = {"train": (torch.ones(4, 5, 1), torch.ones(4, 5, 1)),
    ...          "test": (torch.ones(4, 9, 1), torch.ones(4, 9, 1))}
    >>> torchmeta.episodes(batch).query.inputs.shape
    torch.Size([4, 9, 1])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from metaccord import tree
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.source import SPLITS, TaskSource
from metaccord.tasks.stacking import stacked
from metaccord.types import Batch, Episode
from metaccord.uneven import is_uneven, singles, width

__all__ = ["Loaders", "episodes", "from_loader"]


def episodes(batch: Any) -> Episode:
    """Return a batch of tasks as episodes.

    Args:
        batch: ``{"train": (inputs, targets), "test": (inputs, targets)}``, each ``[T, n, ...]``, or
            a list of ``[n, ...]`` for tasks of different sizes.

    Raises:
        DataError: naming the part that is missing or of another shape.
    """
    if not isinstance(batch, Mapping):
        raise DataError(
            f"batch is {type(batch).__name__}: give a dict with 'train' and 'test', as Torchmeta's "
            "BatchMetaDataLoader does"
        )
    support, query = _part(batch, "train"), _part(batch, "test")
    if len(support.inputs) != len(query.inputs):
        raise DataError(
            f"batch['train'] has {len(support.inputs)} tasks but batch['test'] "
            f"{len(query.inputs)}: both need the same tasks"
        )
    return Episode(support, query)


def _part(batch: Mapping[str, Any], key: str) -> Batch:
    if key not in batch:
        raise DataError(
            f"batch has {sorted(map(str, batch))} but no {key!r}: split each task into support "
            "and query, as ClassSplitter does"
        )
    pair = batch[key]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"batch[{key!r}] is {type(pair).__name__}: it must be (inputs, targets)")
    inputs, targets = pair
    if isinstance(inputs, list | tuple) and isinstance(targets, list | tuple):
        return _listed(inputs, targets, key)
    for name, leaf in (("inputs", inputs), ("targets", targets)):
        if not isinstance(leaf, Tensor):
            raise DataError(
                f"the {name} of batch[{key!r}] are {type(leaf).__name__}: give tensors, for "
                "example by a ToTensor transform"
            )
        if leaf.dim() < 2:
            raise DataError(
                f"the {name} of batch[{key!r}] have shape {list(leaf.shape)}, not [tasks, "
                "examples, ...]: batch the tasks, as BatchMetaDataLoader does"
            )
    if inputs.shape[:2] != targets.shape[:2]:
        raise DataError(
            f"batch[{key!r}] has inputs {list(inputs.shape[:2])} but targets "
            f"{list(targets.shape[:2])} (tasks, examples): they must be equal"
        )
    return Batch(inputs, targets)


def _listed(inputs: Sequence[Any], targets: Sequence[Any], key: str) -> Batch:
    """Return tasks of different sizes, one tensor each."""
    leaves = [*inputs, *targets]
    if bad := [leaf for leaf in leaves if not isinstance(leaf, Tensor) or not leaf.dim()]:
        raise DataError(
            f"the lists of batch[{key!r}] hold {type(bad[0]).__name__} where a task's examples "
            "belong: give one tensor [examples, ...] per task"
        )
    if len(inputs) != len(targets):
        raise DataError(
            f"batch[{key!r}] has inputs of {len(inputs)} tasks but targets of {len(targets)}: they "
            "must be equal"
        )
    parts = [Batch(x, y) for x, y in zip(inputs, targets, strict=True)]
    return stacked([Episode(part, part) for part in parts]).support


class _Cursor:
    """Where one reading of a loader is; the last batch stays at hand."""

    def __init__(self) -> None:
        self.place = -1
        self.batches: Iterator[Any] = iter(())
        self.last: Episode | None = None

    def at(self, loader: Iterable[Any], index: int) -> Episode:
        """Return batch ``index``, reading on or, for an earlier one, from the beginning."""
        if index < self.place or self.place < 0:
            self.batches, self.place = _again(loader), -1
        if index > self.place:
            self.last = episodes(next(islice(self.batches, index - self.place - 1, None)))
            self.place = index
        assert self.last is not None
        return self.last


def _again(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader, over and over."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DataError("the loader gives no batch: a second pass needs a loader, no iterator")


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaders(TaskSource):
    """Tasks as loaders of Torchmeta give them.

    A training step takes one batch, the first tasks of it if fewer are asked for. A measurement
    takes tasks from the first batch on.

    Args:
        loaders: By split: iterables of batches that can be read again from the beginning.
        classes: Whether targets are classes.
        shots, queries, train_shots: Without meaning: a loader knows itself.
        seed: Of mini-batch order and dropout; the tasks are the loader's own draws.

    Raises:
        UsageError: for more tasks in a training step than a batch has, or a split without loader.
    Differs:
        Elsewhere an episode depends on seed, split, step and task alone. Here it is what the loader
        gives, so exact resuming and equal test tasks for two methods need a loader that gives the
        same each time (``shuffle=False``, or a generator with a fixed seed at every pass).
    """

    loaders: Mapping[str, Iterable[Any]]
    classes: bool = False
    _cursors: dict[str, _Cursor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in self.loaders:
            if split not in SPLITS:
                raise unknown("split", str(split), SPLITS)

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether targets are classes."""
        return self.classes

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return tasks of the loader; see the base class."""
        keys = self.keys(self.draws(split, step, tasks, 2))
        if split not in self.loaders:
            raise UsageError(
                f"there is no loader for {split!r}: give one, from_loader(..., {split}=loader)"
            )
        size = len(self._batch(split, step if split == "train" else 0).support.inputs)
        if split == "train" and tasks.stop > size:
            raise UsageError(
                f"a step has {tasks.stop} tasks but a batch of the loader {size}: use "
                f"num_tasks={size}, or batches of {tasks.stop} and drop_last=True"
            )
        found = []
        for place in _runs(tasks, size):
            batch = self._batch(split, step + place.start // size)
            within = slice(place.start % size, place.start % size + len(place))
            found.append(_cut(batch, within))
        return _joined(found)._replace(extra=keys)

    def _batch(self, split: str, index: int) -> Episode:
        cursor = self._cursors.setdefault(split, _Cursor())
        return cursor.at(self.loaders[split], index)


def _cut(episode: Episode, tasks: slice) -> Episode:
    def cut(leaf: Tensor) -> Tensor:
        return leaf[tasks]

    return cast(Episode, tree.mapped(cut, episode))


def _joined(found: list[Episode]) -> Episode:
    """Return pieces of several batches as one; they may differ in their numbers of examples."""
    if len(found) == 1:
        return found[0]
    widths = {(width(piece.support), width(piece.query)) for piece in found}
    if len(widths) == 1 and not any(map(is_uneven, found)):
        return cast(Episode, tree.join(found, torch.cat))
    return stacked([task for piece in found for task in singles(piece)])


def _runs(tasks: range, size: int) -> list[range]:
    """Cut a range of tasks where batches end."""
    ends = [*range((tasks.start // size + 1) * size, tasks.stop, size), tasks.stop]
    starts = [tasks.start, *ends[:-1]]
    return [range(a, b) for a, b in zip(starts, ends, strict=True)]


def from_loader(
    train: Iterable[Any],
    *,
    validation: Iterable[Any] | None = None,
    test: Iterable[Any] | None = None,
) -> Loaders:
    """Return loaders as a source of tasks, for ``metaccord.train`` and ``metaccord.evaluate``.

    The first batch is looked at: targets that are whole numbers are classes.

    Args:
        train, validation, test: Such as Torchmeta's ``BatchMetaDataLoader``; no iterators.

    Raises:
        UsageError: for what cannot be read twice.
        DataError: for a first batch that is none.
    """
    given = {"train": train, "validation": validation, "test": test}
    loaders = {split: loader for split, loader in given.items() if loader is not None}
    for split, loader in loaders.items():
        if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
            raise UsageError(
                f"{split} is {type(loader).__name__}: give a loader or a list of batches, which "
                "can be read from the beginning again"
            )
    first = _Cursor().at(train, 0)
    return Loaders(loaders=loaders, classes=not first.support.targets.is_floating_point())
