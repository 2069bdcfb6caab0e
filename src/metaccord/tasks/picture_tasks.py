"""N-way K-shot tasks over decoded pictures, whatever set they are of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaccord.codings.pictures import PictureCoding
from metaccord.data.pictures.decoded import Decoded
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.source import SPLITS, Advice, TaskSource
from metaccord.tasks.stream import distinct
from metaccord.types import Batch, Episode

Integers = NDArray[np.int64]

_INNER: dict[str, dict[str, Any]] = {
    "reptile": {"steps": 5, "lr": 1e-3, "batch": 10, "inner": "adam"},
    "maml_pp": {"steps": 3, "lr": 0.1, "horizon": 1500},
    "imaml": {"steps": 8, "lr": 0.1},
    "finetune": {"steps": 5, "lr": 0.1},
}  # the same as for Omniglot and hand signs


class Held(NamedTuple):
    """Pictures and who may see them.

    Attributes:
        pictures: All, decoded.
        members: The classes of each split, as numbers of the recipe's classes.
    """

    pictures: Decoded
    members: Mapping[str, Integers]


class Drawn(NamedTuple):
    """What tasks are made of.

    Attributes:
        rows: Pictures, the support set first, ``[T, ways, n]``.
        classes: ``[T, ways]``.
        keys: Seeds ``[T]`` of what a step draws.
    """

    rows: Integers
    classes: Integers
    keys: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class PictureTasks(TaskSource):
    """Tell ``ways`` classes of pictures apart after ``shots`` pictures of each.

    Classes may have different numbers of pictures; splits share no class.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    classifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ways < 2:
            raise UsageError(f"tasks.ways is {self.ways}: a task needs at least 2 classes")

    @abstractmethod
    def held(self) -> Held:
        """Return pictures and splits.

        Raises:
            DataError: if they are missing, damaged, or not those that the value names.
        """

    @property
    @abstractmethod
    def coding(self) -> PictureCoding:
        """What a picture file becomes for these tasks."""

    @property
    def leaves_out(self) -> bool:
        """Whether classes with too few pictures are left out rather than refused."""
        return False

    @property
    def labels(self) -> int:
        """All classes, of all splits."""
        return len(self.held().pictures.recipe.classes)

    def advice(self, base: str) -> Advice:
        """Return a Conv4 for these pictures; see the base class."""
        form = self.coding.form
        large = form.size > 42  # pixels: from there on the literature pools and flattens
        model = {"class": "Conv4", "ways": self.ways, "channels": form.channels, "size": form.size}
        if large:
            model |= {"hidden": 32, "downsample": "pool", "spatial": "flatten"}
        inner: dict[str, Any] = {"steps": 5, "lr": 0.05} if large else {"steps": 1, "lr": 0.4}
        inner |= _INNER.get(base, {})
        return Advice(model, inner, steps=3000, num_tasks=5 if base == "reptile" else 8)

    def settled(self) -> Self:
        """Return the same once the pictures are there and those of the fingerprint."""
        self.held()
        return self

    def names(self, split: str) -> tuple[str, ...]:
        """Return the names of all classes, which ``extra["classes"]`` counts in every split."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return self.held().pictures.recipe.classes

    def classes(self, split: str) -> Integers:
        """Return the classes of a split that have enough pictures: ``[C]``.

        Raises:
            UsageError: for an unknown split.
            DataError: if a class has too few pictures, or the split too few classes.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        held, need = self.held(), self.support_shots(split) + self.queries
        recipe, members = held.pictures.recipe, held.members[split]
        counts = np.array(recipe.counts)[members]
        if not self.leaves_out and len(members) and counts.min() < need:
            which = members[counts.argmin()]
            raise DataError(
                f"class {recipe.classes[which]!r} of {recipe.what} has {counts.min()} pictures, "
                f"tasks.shots + tasks.queries is {need} in the {split} split: lower one of them, "
                "add pictures, or leave such classes out (tasks.too_few=leave_out)"
            )
        members = members[counts >= need]
        if self.ways > len(members):
            raise DataError(
                f"the {split} split of {recipe.what} has {len(members)} classes of at least {need} "
                f"pictures, tasks.ways is {self.ways}: lower it or choose another tasks.split"
            )
        return members

    def drawn(self, split: str, step: int, tasks: range) -> Drawn:
        """Return which pictures some tasks of a step are made of; nothing is decoded.

        Args:
            split, step, tasks: As for :meth:`episodes`.
        """
        members, each = self.classes(split), self.support_shots(split) + self.queries
        recipe, starts = self.held().pictures.recipe, self.held().pictures.starts
        raw = self.draws(split, step, tasks, 2 + self.ways * (1 + each))
        own = raw[:, 2:].reshape(len(tasks), self.ways, 1 + each)
        chosen = members[distinct(own[..., 0], np.full(len(tasks), len(members)))]  # [T, ways]
        inside = distinct(own[..., 1:], np.array(recipe.counts)[chosen])
        return Drawn(starts[chosen][..., None] + inside, chosen, self.keys(raw))

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return N-way K-shot tasks; see the base class."""
        found, shots = self.drawn(split, step, tasks), self.support_shots(split)
        pictures, coding = self.held().pictures, self.coding
        support, query = (
            _batch(pictures.rows(part.reshape(len(tasks), -1)), coding, self.ways)
            for part in (found.rows[..., :shots], found.rows[..., shots:])
        )
        return Episode(support, query, {**found.keys, "classes": torch.from_numpy(found.classes)})


def _batch(pixels: NDArray[np.uint8], coding: PictureCoding, ways: int) -> Batch:
    """Return uint8 pictures ``[T, n, channels, size, size]`` as examples, class by class."""
    labels = torch.arange(ways).repeat_interleave(pixels.shape[1] // ways)
    inputs = coding.scaled(torch.from_numpy(pixels))
    return Batch(inputs, labels.expand(len(pixels), -1).contiguous())
