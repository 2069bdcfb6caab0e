"""Tasks from a user's function that draws one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord import tree
from metaccord.codings import ArrayCoding
from metaccord.errors import DataError, UsageError
from metaccord.tasks.own.draw import KEYS, Draw
from metaccord.tasks.own.shapes import advice
from metaccord.tasks.source import SPLITS, Advice, TaskSource
from metaccord.tasks.stacking import stacked
from metaccord.types import Batch, Episode

_PROBES = 2  # tasks of each split that are drawn twice


Drawer = Callable[[Draw], Any]


@dataclass(frozen=True, kw_only=True)
class Drawn(TaskSource):
    """Tasks that a function draws, one at a time.

    A run stores the function's name and a hash of a few of its tasks, not the function: give the
    tasks again to go on with a run.

    Args:
        name: The function's name.
        classes: Classes of a task; 0: numbers are predicted.
        shots, queries, train_shots: What ``draw.shots`` and ``draw.queries`` say to the function.
        fingerprint: Hash of a few tasks, written down by a run; empty: whatever they are.
        function: Draws a task; not stored.
        seed: Names the stream of episodes.

    Raises:
        UsageError: for a number of classes that is none.
        DataError: when a task is drawn: if the function gives no task, or another one when it
            draws with the same numbers again.
    """

    name: str = ""
    classes: int = 0
    fingerprint: str = ""
    function: Drawer | None = field(
        default=None, repr=False, compare=False, metadata={"stored": False}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 0 or self.classes == 1:
            raise UsageError(
                f"tasks.classes is {self.classes}: use 0 for numbers, or at least 2 classes"
            )

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether classes are predicted."""
        return self.classes > 0

    @property
    def coding(self) -> ArrayCoding | None:
        """Arrays of the shape that the function gives, as they are; None for trees."""
        support = self._probe().support
        if not isinstance(support.inputs, Tensor) or not isinstance(support.targets, Tensor):
            return None
        shape = tuple(support.inputs.shape[2:])
        if self.classes:
            return ArrayCoding(shape, "new_classes", self.classes)
        return ArrayCoding(shape, outputs=int(np.prod(support.targets.shape[2:], dtype=int)))

    def advice(self, base: str) -> Advice:
        """Return what learns arrays of this shape; see the base class."""
        coding = self.coding
        if coding is None:
            return super().advice(base)
        return advice(coding.shape, coding.outputs, self.classifies, base)

    def settled(self) -> Self:
        """Return the same with the hash of a few tasks written down; see the base class."""
        digest = hashlib.sha256()
        for split in SPLITS:
            found = replace(self, seed=0).episodes(split, 0, range(_PROBES))
            for leaf in pytree.tree_leaves((found.support, found.query)):
                digest.update(f"{leaf.dtype}{list(leaf.shape)}".encode())
                digest.update(leaf.contiguous().numpy().tobytes())
        now = digest.hexdigest()
        if self.fingerprint not in ("", now):
            raise DataError(
                f"the function {self.name} draws other tasks than when the run was made: restore "
                "it, or train anew in another folder"
            )
        return replace(self, fingerprint=now)

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the tasks that the function draws; see the base class."""
        raw = self.draws(split, step, tasks, KEYS)
        keys = self.keys(raw)
        found = []
        for row, task in enumerate(tasks):
            one = self._one(split, step, task)
            extra = {**one.extra, **{name: values[row] for name, values in keys.items()}}
            found.append(one._replace(extra=extra))
        return stacked(found)

    def check(self) -> None:
        """Draw a few tasks twice.

        Raises:
            DataError: if they differ: the function is not a pure function of its argument.
        """
        for split in SPLITS:
            for task in range(_PROBES):
                one, other = (self._one(split, 0, task) for _ in range(2))
                same = pytree.tree_map(
                    lambda a, b: a.shape == b.shape and bool(torch.equal(a, b)),
                    (one.support, one.query),
                    (other.support, other.query),
                )
                if not all(pytree.tree_leaves(same)):
                    raise DataError(
                        f"the function {self.name} gives another task when it draws with the same "
                        "numbers again: take all randomness from its argument (draw.uniform(...)), "
                        "none from random, numpy.random or torch.rand, and keep no state"
                    )

    def _probe(self) -> Episode:
        return self.episodes("train", 0, range(1))

    def _one(self, split: str, step: int, task: int) -> Episode:
        """Return one task ``[n, ...]``."""
        if self.function is None:
            raise DataError(
                f"the function {self.name} that draws these tasks was given in Python: make the "
                "tasks again there, and call mc.evaluate(..., tasks) or mc.run(..., resume=True)"
            )
        draw = Draw((self.seed, split, step, task), self.support_shots(split), self.queries)
        where = f"the function {self.name}, task {task} of step {step} of the {split} split,"
        found = self.function(draw)
        if isinstance(found, Episode):
            return found
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise DataError(
                f"{where} gives {type(found).__name__}: return (support, query), each a pair "
                "(inputs, targets)"
            )
        support, query = (
            _batch(part, f"{where} {name}", self.classes)
            for part, name in zip(found, ("support", "query"), strict=True)
        )
        return Episode(support, query)


def from_function(
    function: Drawer, *, classes: int = 0, shots: int = 10, queries: int = 10, **settings: Any
) -> Drawn:
    """Return tasks that a function draws, after drawing a few of them twice.

    Args:
        function: ``function(draw) -> ((inputs, targets), (inputs, targets))``: support and query
            of one task, ``[n, ...]``, whose sizes may differ from task to task. All randomness
            comes from ``draw`` (:class:`Draw`).
        classes: Classes of a task, whose targets are then labels below it; 0: targets are numbers.
        shots, queries: What ``draw.shots`` and ``draw.queries`` say.
        settings: ``train_shots``, ``seed``.

    Raises:
        DataError: if the function gives no task, or two for the same numbers.

    Example:
        >>> def line(draw):
        ...     slope, x = draw.normal(), draw.uniform(draw.shots + 5, 1)
        ...     return (x[:-5], slope * x[:-5]), (x[-5:], slope * x[-5:])
        >>> from_function(line, shots=3).episodes("train", 0, range(4)).support.inputs.shape
        torch.Size([4, 3, 1])
    """
    if not callable(function):
        raise UsageError(f"from_function takes a function, not {type(function).__name__}")
    name = getattr(function, "__qualname__", type(function).__name__)
    tasks = Drawn(
        name=name, classes=classes, shots=shots, queries=queries, function=function, **settings
    )
    tasks.check()
    return tasks


def _batch(part: Any, where: str, classes: int) -> Batch:
    """Return a pair of inputs and targets as examples."""
    if not isinstance(part, tuple | list) or len(part) < 2:
        raise DataError(f"{where} is {type(part).__name__}: return a pair (inputs, targets)")
    inputs, targets = (_tensors(one, where) for one in part[:2])
    if isinstance(inputs, Tensor) and inputs.dim() == 1:
        inputs = inputs[:, None]
    if classes:
        if not isinstance(targets, Tensor) or targets.dim() != 1:
            raise DataError(f"{where}: targets are labels, [n] whole numbers")
        labels = targets.long()
        if (labels != targets).any() or labels.min() < 0 or labels.max() >= classes:
            raise DataError(f"{where}: labels must be whole numbers in 0 .. {classes - 1}")
        targets = labels
    elif isinstance(targets, Tensor):
        targets = targets.float() if not targets.is_floating_point() else targets
        targets = targets[:, None] if targets.dim() == 1 else targets
    lengths = tree.common_length([inputs, targets])
    if len(lengths) != 1 or lengths & {0, -1}:
        raise DataError(
            f"{where} has {sorted(lengths)} examples: inputs and targets need one length above 0"
        )
    return Batch(inputs, targets)


def _tensors(part: Any, where: str) -> Any:
    """Return arrays as tensors, numbers as float32."""
    if isinstance(part, Mapping):
        return {name: _tensors(one, where) for name, one in part.items()}
    if isinstance(part, tuple):
        return tuple(_tensors(one, where) for one in part)
    try:
        found = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is no array of numbers ({error})") from error
    found = found.detach()
    if found.dtype == torch.float64 and not isinstance(part, Tensor):
        found = found.float()
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"{where} holds a number that is not finite")
    return found
