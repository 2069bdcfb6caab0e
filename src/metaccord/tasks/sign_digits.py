"""Sign Language Digits: colour photographs of hand signs 0-9, N-way K-shot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from metaccord.codings import PictureCoding
from metaccord.data import sign_digits
from metaccord.data.sign_digits import COUNTS, SIDE
from metaccord.errors import UsageError, unknown
from metaccord.tasks.source import SPLITS, TaskSource
from metaccord.tasks.stream import permutation, words
from metaccord.types import Batch, Episode

TRAIN = 5  # digits for training (and validation); the other five are for test
HELD = 5  # one in five pictures of a training digit is for validation
MEAN = (172.1, 164.7, 157.2)
DEVIATION = (34.9, 39.3, 46.5)


@dataclass(frozen=True, kw_only=True)
class SignDigits(TaskSource):
    """Tell ``ways`` hand signs apart after ``shots`` photographs of each.

    There are only ten signs. Five, drawn by ``split_seed``, are for training and the other five
    for test, so test signs are new. Validation has the signs of training and a fifth of their
    pictures (41 or 40 of each, drawn by ``split_seed``), which training never sees: it measures
    new pictures and new label orders, not new signs. With 5 ways every task of a split has the
    same five signs; what a task draws is which sign gets which label, and the pictures.

    The same people and rooms return in all splits, as everybody showed all ten digits. This is a
    colour set for tests and small benchmarks, not a standard few-shot benchmark.

    Args:
        ways: Signs of one task, 2 to 5.
        shots, queries, train_shots: Pictures per sign; see :class:`metaccord.tasks.TaskSource`.
        split_seed: Draws the signs for test and the pictures for validation.
        root: Folder with the data; None: METACCORD_DATA, then the user's cache.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, ways * n, 3, 32, 32] float32; targets [T, ways * n] int64, class by class;
        ``extra["classes"]`` [T, ways] int64, the digit of each label. Each colour is shifted by
        its mean (172.1, 164.7, 157.2) and divided by its standard deviation (34.9, 39.3, 46.5)
        over all 2062 pictures, those for test too.

    Raises:
        UsageError: for more ways than signs, or more examples than a sign has.
        DataError: when episodes are drawn, if the data are missing or damaged.
    Reference:
        Mavi, arXiv:2011.08927, 2020.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    split_seed: int = 0
    root: str | None = None
    classifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ways < 2:
            raise UsageError(f"tasks.ways is {self.ways}: a task needs at least 2 classes")
        for split in SPLITS:
            classes, need = self.classes(split), self.support_shots(split) + self.queries
            if self.ways > len(classes):
                raise UsageError(
                    f"tasks.ways is {self.ways}, but the {split} split has {len(classes)} classes"
                )
            for digit in classes:
                if need > (count := len(self.pictures(split, int(digit)))):
                    raise UsageError(
                        f"digit {digit} has {count} pictures in the {split} split, "
                        f"tasks.shots + tasks.queries is {need}: lower one of them"
                    )

    def classes(self, split: str) -> np.ndarray:
        """Return the digits of a split: ``[5]``; validation has those of training."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        order = permutation(words(self.split_seed, "sign_digits/classes", 0, 0, len(COUNTS)))
        return order[TRAIN:] if split == "test" else order[:TRAIN]

    def pictures(self, split: str, digit: int) -> np.ndarray:
        """Return the pictures of a digit in a split, as rows of the whole set: ``[n]``.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``.
            digit: One of ``classes(split)``.

        Raises:
            UsageError: for an unknown split, or a digit of another split.
        """
        if digit not in self.classes(split):
            raise UsageError(
                f"digit {digit} is not in the {split} split: choose from "
                f"{sorted(self.classes(split).tolist())}"
            )
        first, count = sum(COUNTS[:digit]), COUNTS[digit]
        if split == "test":
            return np.arange(first, first + count)
        raw = words(self.split_seed, "sign_digits/pictures", 0, digit, count)
        held, kept = np.split(first + permutation(raw), [count // HELD])
        return np.sort(held if split == "validation" else kept)

    @property
    def coding(self) -> PictureCoding:
        """Colour photographs; see the base class."""
        return PictureCoding(SIDE, "colour", "stretch", MEAN, DEVIATION)

    @property
    def labels(self) -> int:
        """The ten digits."""
        return 10

    def names(self, split: str) -> tuple[str, ...]:
        """Return the ten digits; see the base class."""
        super().names(split)
        return tuple(map(str, range(self.labels)))

    @property
    def place(self) -> str | None:
        """Where the data are looked for: ``root``, else METACCORD_DATA, else the cache."""
        return self.root or os.environ.get("METACCORD_DATA")

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return N-way K-shot tasks; see the base class."""
        classes, shots = self.classes(split), self.support_shots(split)
        pools = [self.pictures(split, int(digit)) for digit in classes]
        sizes = np.array([len(pool) for pool in pools])
        width = int(sizes.max())
        rows = np.stack([np.pad(pool, (0, width - len(pool))) for pool in pools])  # [5, width]
        raw = self.draws(split, step, tasks, 2 + self.ways * width + len(classes))
        order = np.argsort(raw[:, 2 + self.ways * width :], axis=1, kind="stable")
        chosen = order[:, : self.ways]  # [T, ways]
        own = raw[:, 2 : 2 + self.ways * width].reshape(len(tasks), self.ways, width)
        padded = np.arange(width) >= sizes[chosen][..., None]
        own = np.where(padded, np.iinfo(np.uint64).max, own)  # padding is drawn last
        drawn = np.argsort(own, axis=2, kind="stable")[..., : shots + self.queries]
        found = _data(self.place).pictures[rows[chosen[..., None], drawn]]
        keys = {**self.keys(raw), "classes": torch.from_numpy(classes[chosen])}
        return Episode(_batch(found[:, :, :shots]), _batch(found[:, :, shots:]), keys)


def _batch(pictures: np.ndarray) -> Batch:
    """Return uint8 pictures ``[T, ways, n, 3, 32, 32]`` as examples."""
    count, ways, number = pictures.shape[:3]
    inputs = torch.from_numpy(pictures).float().reshape(count, ways * number, 3, SIDE, SIDE)
    labels = torch.arange(ways).repeat_interleave(number)
    scaled = (inputs - _channels(MEAN)) / _channels(DEVIATION)
    return Batch(scaled, labels.expand(count, -1).contiguous())


def _channels(numbers: tuple[float, ...]) -> Tensor:
    """Return one number per colour, ready to broadcast: ``[3, 1, 1]``."""
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None]


@lru_cache(maxsize=2)
def _data(place: str | None) -> sign_digits.SignDigitPictures:
    return sign_digits.load(place)
