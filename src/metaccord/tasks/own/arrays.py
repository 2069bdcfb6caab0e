"""Tasks from arrays: one for each group, or N-way K-shot over classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from metaccord.codings import ArrayCoding
from metaccord.codings.arrays import label_texts, sorted_labels
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.leaks import refuse_leaks, row_digests
from metaccord.tasks.own.array_data import Aim, ArrayContent, fitted, opened, targets_of
from metaccord.tasks.own.base import Content, Layout, OwnData, fingerprint_of, split_of_rows
from metaccord.tasks.own.drawing import class_tasks, group_tasks
from metaccord.tasks.own.named_splits import by_words
from metaccord.tasks.own.shapes import advice
from metaccord.tasks.source import SPLITS, Advice
from metaccord.tasks.splits import Integers
from metaccord.types import Batch, Episode

_WAYS = 5


@dataclass(frozen=True, kw_only=True)
class Arrays(OwnData):
    """Examples of one shape: one task for each group, or N-way K-shot tasks over classes.

    With groups each task is one group, and the targets mean the same in each: numbers, or the
    same classes. Without groups each task tells ``ways`` new classes apart, and the splits share
    no class. Statistics to scale with are those of the training split.

    Args:
        path: An npz file with ``X``, ``y`` and perhaps ``groups`` and ``splits``; empty: data in
            memory.
        ways: Without groups, classes of one task; None: at most 5, a third of all, or those of the
            smallest split that is named.
        aim: With groups, whether ``y`` holds ``"numbers"`` or ``"classes"``; ``"auto"``: floats
            are numbers, the rest are classes.
        shots, train_shots: Support examples of a group, or of each class; see
            :class:`metaccord.tasks.TaskSource`.
        queries: Query examples, at most: of a smaller group or class it is what is left.
        standardise: Shift and scale inputs and numbers to predict: vectors of up to 10,000
            places each place by itself, other shapes as a whole.
        split, split_seed, train, validation, test, minimum, accept_leaks, fingerprint, data: See
            :class:`metaccord.tasks.own.OwnData`.
        fitted: The coding, written down by a run.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, n, ...] float32; targets [T, n] int64, or [T, n, d] float32; ``extra["group"]``
        [T] or ``extra["classes"]`` [T, ways]: places in :meth:`names`. Groups of different sizes
        give uneven tasks (``Batch.sizes``).

    Raises:
        UsageError: for numbers out of range.
        DataError: when the data are first looked at: if they cannot be used, or if identical
            rows lie in different splits.
    """

    shots: int = 5
    queries: int = 15
    ways: int | None = None
    aim: Aim = "auto"
    standardise: bool = True
    fitted: ArrayCoding | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aim not in (choices := ("auto", "numbers", "classes")):
            raise unknown("tasks.aim", self.aim, choices)
        if self.ways is not None and self.ways < 2:
            raise UsageError(f"tasks.ways is {self.ways}: a task needs at least 2 classes")

    @property
    def coding(self) -> ArrayCoding:
        """What raw arrays become; see the base class."""
        return self.fitted or cast(ArrayCoding, self.layout().coding)

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether labels are predicted."""
        return self.coding.aim != "numbers"

    @property
    def labels(self) -> int:
        """Number of all classes, for tasks of new classes."""
        layout = self.layout()
        return len(layout.names) if self.coding.aim == "new_classes" else 0

    def unfitted(self) -> dict[str, Any]:
        """Return what is written down from the data."""
        return {"fitted": None}

    def settled(self) -> Self:
        """Return the same with fingerprint and coding written down; see the base class."""
        found = super().settled()
        return replace(found, fitted=found.coding)

    def advice(self, base: str) -> Advice:
        """Return what learns arrays of this shape; see the base class."""
        coding = self.coding
        return advice(coding.shape, coding.outputs, self.classifies, base)

    def read(self) -> Content:
        """Return the arrays in the file."""
        return opened(self.place())

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return tasks of groups, or N-way K-shot tasks; see the base class."""
        content, coding = cast(ArrayContent, self.held()), self.coding

        def inputs(rows: Integers) -> Tensor:
            return coding.coded(content.inputs[rows], content.where)

        if content.groups is None:
            return class_tasks(self, split, step, tasks, inputs, coding.outputs)
        targets = content.once(("targets", coding), lambda: targets_of(content, coding))
        return group_tasks(
            self,
            split,
            step,
            tasks,
            lambda rows: Batch(inputs(rows), targets[torch.from_numpy(rows)]),
        )

    def laid_out(self, content: Content) -> Layout:
        """Return names, rows, splits and coding; see the base class."""
        assert isinstance(content, ArrayContent)
        what = "class" if content.groups is None else "group"
        texts = content.groups or label_texts(content.targets, f"{content.where}, y")
        names = sorted_labels(texts)
        place = {name: i for i, name in enumerate(names)}
        owner = np.array([place[text] for text in texts])
        if len(names) < 2:
            raise DataError(
                f"{content.where} has one {what}, {names[0]!r}: at least 2 are needed, one to "
                "train on and one to test with"
            )
        rows = [np.flatnonzero(owner == i) for i in range(len(names))]
        kept = self.kept(names, rows, what)
        names, rows = [names[i] for i in kept], [rows[i] for i in kept]
        named = self._named(content, names, rows, what)
        ways = named._ways(len(names)) if what == "class" else 1
        members = named.divided(names, what, ways)
        split_of = split_of_rows(len(texts), rows, members)
        by = [content.inputs] if what == "class" else [content.inputs, content.targets]
        flat = content.inputs.reshape(len(texts), -1)
        numbers = flat.astype(np.float64) if flat.size <= 1 << 24 else None
        refuse_leaks(row_digests(*by), split_of, numbers, content.where, self.accept_leaks)
        coding = fitted(content, split_of == 0, ways, self.aim, self.standardise)
        found = fingerprint_of(content, names, members)
        return Layout(tuple(names), tuple(rows), members, coding, found)

    def _named(
        self, content: ArrayContent, names: list[str], rows: list[Integers], what: str
    ) -> Self:
        """Return the same with the names of each split, if the data say them."""
        if content.splits is None:
            return self
        if self.split is not None or any(getattr(self, split) for split in SPLITS):
            raise UsageError(
                f"{content.where} has splits, which say who is in which: leave tasks.split, "
                "tasks.train, tasks.validation and tasks.test out"
            )
        one, two, three = by_words(
            content.splits, names, rows, what=what, by="splits", where=content.where
        )
        return replace(self, train=one, validation=two, test=three)

    def _ways(self, classes: int) -> int:
        sizes = [len(own) for own in (self.train, self.validation, self.test) if own]
        return self.ways or max(2, min(_WAYS, classes // 3, *sizes))


def from_arrays(
    inputs: Any,
    targets: Any,
    *,
    groups: Sequence[Any] | None = None,
    splits: Sequence[str] | None = None,
    **settings: Any,
) -> Arrays:
    """Return tasks over arrays in memory, checked.

    Args:
        inputs: Examples ``[n, ...]``: an array, a tensor or nested lists.
        targets: Labels ``[n]``; with groups also numbers ``[n]`` or ``[n, d]``.
        groups: The group of each example, ``[n]``, one task each; None: N-way K-shot tasks over
            the classes in ``targets``.
        splits: ``train``, ``validation`` or ``test`` for each example, ``[n]``, the same in all of
            a group or class; None: they are drawn.
        settings: Those of :class:`Arrays`, such as ``shots=5``.

    Raises:
        UsageError, DataError: as :class:`Arrays` does.

    Example:
        >>> X, y = np.random.default_rng(0).normal(size=(300, 4)), np.arange(300) % 15
        >>> tasks = from_arrays(X, y, shots=1)
        >>> tasks.episodes("train", 0, range(2)).support.inputs.shape
        torch.Size([2, 5, 4])
    """
    tasks = Arrays(**settings, data=ArrayContent(inputs, targets, groups, "the data", splits))
    tasks.layout()
    return tasks
