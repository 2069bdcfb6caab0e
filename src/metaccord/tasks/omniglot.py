"""Omniglot: handwritten characters of 50 alphabets, N-way K-shot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch

from metaccord.codings import PictureCoding
from metaccord.data import omniglot, one_shot_runs
from metaccord.errors import UsageError, unknown
from metaccord.tasks.source import SPLITS, TaskSource
from metaccord.tasks.stream import below, permutation, words
from metaccord.types import Batch, Episode

Partition = Literal["random", "vinyals", "background"]
CHARACTERS, DRAWINGS = 1623, 20
TRAIN, VALIDATION = 1100, 100  # characters of the random partition; the other 423 are for test


@dataclass(frozen=True, kw_only=True)
class Omniglot(TaskSource):
    """Tell ``ways`` characters apart after ``shots`` drawings of each.

    Args:
        ways: Characters of one task.
        shots, queries, train_shots: Drawings per character; see
            :class:`metaccord.tasks.TaskSource`.
        partition: ``"random"``: 1200 of the 1623 characters for training, of which 100 are for
            validation, 423 for test (MAML); ``"vinyals"``: the split of Vinyals et al.;
            ``"background"``: the authors' background set for training, of which five alphabets
            are for validation, their evaluation set for test.
        rotations: ``"classes"``: a character turned by a multiple of 90 degrees is another
            class; ``"draw"``: each class of a task is turned by one random multiple, at test
            too (MAML); ``"none"``. As new classes, only training characters are turned
            (Reptile).
        split_seed: Of the random partition.
        root: Folder with the data; None: METACCORD_DATA, then the user's cache.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, ways * n, 1, 28, 28] float32, ink = 1; targets [T, ways * n] int64, class by
        class; ``extra["classes"]`` [T, ways] int64, the global class of each label: character
        * 4 + quarter turns as shown.

    Raises:
        UsageError: for more ways than classes, or more examples than a class has.
        DataError: if the data are missing or damaged.
    Reference:
        Lake, Salakhutdinov, Tenenbaum, Science 350, 2015; Vinyals et al., NeurIPS 2016.
    Differs:
        Ink is 1 and paper 0, as in MAML after its inversion; Reptile's code has it the other
        way round. 28x28 is made as in MAML, which takes the nearest pixel.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    partition: Partition = "random"
    rotations: Literal["classes", "draw", "none"] = "draw"
    split_seed: int = 0
    root: str | None = None
    classifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partition not in (choices := ("random", "vinyals", "background")):
            raise unknown("tasks.partition", self.partition, choices)
        if self.rotations not in (choices := ("classes", "draw", "none")):
            raise unknown("tasks.rotations", self.rotations, choices)
        if self.ways < 2:
            raise UsageError(f"tasks.ways is {self.ways}: a task needs at least 2 classes")
        need = max(self.shots, self.train_shots or 0) + self.queries
        if need > DRAWINGS:
            raise UsageError(
                f"a character has {DRAWINGS} drawings, tasks.shots + tasks.queries is {need}: "
                "lower one of them"
            )
        for split in SPLITS:
            count = len(self.classes(split))
            if self.ways > count:
                raise UsageError(
                    f"tasks.ways is {self.ways}, but the {split} split has {count} classes"
                )

    @property
    def coding(self) -> PictureCoding:
        """Dark ink on light paper, as in the original files; see the base class."""
        return PictureCoding(28, "ink", "stretch", (0.0,), (1.0,))

    def classes(self, split: str) -> np.ndarray:
        """Return the classes of a split: rows of (character, quarter turns), ``[C, 2]``."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        turned = self.rotations == "classes" and split == "train"
        return _classes(self.partition, self.split_seed, self.place, turned, split)

    @property
    def labels(self) -> int:
        """Characters times quarter turns."""
        return 4 * CHARACTERS

    def names(self, split: str) -> tuple[str, ...]:
        """Return alphabet, character and quarter turns of each class; see the base class."""
        super().names(split)
        return _names(self.place)

    @property
    def place(self) -> str | None:
        """Where the data are looked for: ``root``, else METACCORD_DATA, else the cache."""
        return self.root or os.environ.get("METACCORD_DATA")

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return N-way K-shot tasks; see the base class."""
        classes = self.classes(split)
        shots, per_class = self.support_shots(split), 1 + DRAWINGS
        raw = self.draws(split, step, tasks, 2 + self.ways * per_class + len(classes))
        chosen = np.argsort(raw[:, 2 + self.ways * per_class :], axis=1, kind="stable")
        picked = classes[chosen[:, : self.ways]]  # [T, ways, 2]
        own = raw[:, 2 : 2 + self.ways * per_class].reshape(len(tasks), self.ways, per_class)
        turns = picked[..., 1]
        if self.rotations == "draw":
            turns = below(own[..., 0], 4)
        order = np.argsort(own[..., 1:], axis=2, kind="stable")[..., : shots + self.queries]
        pictures = _pictures(self.place)
        found = pictures[turns[..., None], picked[..., :1], order]  # [T, ways, n, 28, 28]
        support, query = found[:, :, :shots], found[:, :, shots:]
        keys = {**self.keys(raw), "classes": torch.from_numpy(picked[..., 0] * 4 + turns)}
        return Episode(self._batch(support), self._batch(query), keys)

    def _batch(self, pictures: np.ndarray) -> Batch:
        count, ways, number = pictures.shape[:3]
        inputs = torch.from_numpy(pictures).float().reshape(count, ways * number, 1, 28, 28)
        labels = torch.arange(ways).repeat_interleave(number)
        return Batch(inputs, labels.expand(count, -1).contiguous())


@dataclass(frozen=True, kw_only=True)
class OneShotRuns(TaskSource):
    """The 20 official within-alphabet 20-way one-shot runs of the evaluation set.

    Task i of the split ``"test"`` is run i: 20 characters of one alphabet, drawn once by one
    person (support) and once by another (query). There is nothing to train or to draw.

    Args:
        root: Folder with the data; None: METACCORD_DATA, then the user's cache.
        shots, queries, train_shots, seed: Fixed: one each, nothing is drawn.

    Reference:
        Lake, Salakhutdinov, Tenenbaum, Science 350, 2015; people make 4.5 % errors.
    """

    shots: int = 1
    queries: int = 1
    root: str | None = None
    classifies: ClassVar[bool] = True

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return official runs; see the base class."""
        if split != "test":
            raise UsageError(f"the official one-shot runs are for test only, not for {split}")
        runs = one_shot_runs()
        pictures = _pictures(self.root or os.environ.get("METACCORD_DATA"))[0]
        chosen = np.array(tasks) % len(runs.answers)
        support = pictures[runs.train_class[chosen], runs.train_drawer[chosen]]  # [T, 20, 28, 28]
        query = pictures[runs.test_class[chosen], runs.test_drawer[chosen]]
        labels = torch.arange(support.shape[1]).expand(len(chosen), -1).contiguous()
        answers = torch.from_numpy(runs.answers[chosen].astype(np.int64))
        return Episode(
            Batch(torch.from_numpy(support).float()[:, :, None], labels),
            Batch(torch.from_numpy(query).float()[:, :, None], answers),
            self.keys(self.draws(split, 0, tasks, 2)),
        )


@lru_cache(maxsize=2)
def _data(place: str | None) -> omniglot.OmniglotPictures:
    return omniglot.load(place)


@lru_cache(maxsize=2)
def _pictures(place: str | None) -> np.ndarray:
    """Return all pictures in all four orientations: uint8 ``[4, 1623, 20, 28, 28]``."""
    pictures = _data(place).pictures
    return np.stack([np.rot90(pictures, turn, axes=(-2, -1)) for turn in range(4)])


@lru_cache(maxsize=2)
def _names(place: str | None) -> tuple[str, ...]:
    data = _data(place)
    alphabets = [data.alphabet_names[i] for i in data.alphabet]
    return tuple(
        f"{alphabet} {character}" + (f", turned {90 * turns}" if turns else "")
        for alphabet, character in zip(alphabets, data.character.tolist(), strict=True)
        for turns in range(4)
    )


@lru_cache(maxsize=16)
def _partition(kind: str, seed: int, place: str | None) -> tuple[np.ndarray, ...]:
    """Return the characters for training, validation and test."""
    data = _data(place)
    if kind == "vinyals":
        return tuple(np.flatnonzero(data.vinyals == code) for code in range(3))
    if kind == "background":
        background = np.flatnonzero(data.partition == 0)
        held = np.isin(data.alphabet[background], np.unique(data.alphabet[background])[-5:])
        return background[~held], background[held], np.flatnonzero(data.partition == 1)
    order = permutation(words(seed, "omniglot/partition", 0, 0, len(data.alphabet)))
    return order[:TRAIN], order[TRAIN : TRAIN + VALIDATION], order[TRAIN + VALIDATION :]


@lru_cache(maxsize=16)
def _classes(kind: str, seed: int, place: str | None, turned: bool, split: str) -> np.ndarray:
    """Return rows of (character, quarter turns): ``[C, 2]``."""
    characters = _partition(kind, seed, place)[SPLITS.index(split)]
    return np.array([(c, turn) for turn in range(4 if turned else 1) for c in characters])
