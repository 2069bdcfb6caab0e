"""Arrays as given, and the coding that fits them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metaccord.codings import ArrayCoding
from metaccord.codings.arrays import as_array, label_texts, refuse_infinite, sorted_labels
from metaccord.data.arrays import Array, read_arrays
from metaccord.errors import DataError
from metaccord.tasks.own.base import Content, version_of

Aim = Literal["auto", "numbers", "classes"]
_MOST_CLASSES = 50  # of labels that are the same in each group
_WIDE = 10_000  # longer vectors are scaled as a whole


class ArrayContent(Content):
    """Arrays as given.

    Attributes:
        inputs: ``[n, ...]``.
        targets: ``[n]``, or ``[n, d]`` numbers.
        groups: Name of each row's group, or None.
        splits: Name of each row's split, or None.
    """

    def __init__(
        self, inputs: Any, targets: Any, groups: Any, where: str, splits: Any = None
    ) -> None:
        self.inputs = _inputs(inputs, where)
        self.targets = as_array(targets, f"{where}, y")
        texts = None if groups is None else label_texts(as_array(groups, "groups"), "groups")
        self.groups = texts
        self.splits = None if splits is None else label_texts(as_array(splits, "splits"), "splits")
        parts: list[Array] = [self.inputs, self.targets]
        for name, other in (("y", self.targets), ("groups", texts), ("splits", self.splits)):
            if other is not None and len(other) != len(self.inputs):
                raise DataError(
                    f"{where} has {len(self.inputs)} rows in X and {len(other)} in {name}: give "
                    "one row per example in each"
                )
        parts += [np.array(words) for words in (texts, self.splits) if words is not None]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        super().__init__(digest.hexdigest(), where)


def _inputs(inputs: Any, where: str) -> Array:
    found = as_array(inputs, f"{where}, X")
    if found.dtype.kind == "U":
        raise DataError(f"{where}, X holds text: give numbers, or a table (mc.tasks.from_table)")
    found = found[:, None] if found.ndim == 1 else found
    if len(found) < 2 or not found[0].size:
        raise DataError(f"{where}, X has shape {list(found.shape)}: give at least 2 examples")
    refuse_infinite(found, f"{where}, X")
    return found


def fitted(
    content: ArrayContent, training: Array, ways: int, aim: Aim, standardise: bool
) -> ArrayCoding:
    """Return the coding, with the statistics of the rows in training.

    Args:
        content: The arrays.
        training: Which rows are for training, ``[n]``.
        ways: Classes of one task, without groups.
        aim: What is predicted, with groups.
        standardise: Whether there are statistics.

    Raises:
        DataError: if targets are not what is to be predicted, or all the same.
    """
    shape = content.inputs.shape[1:]
    seen = content.inputs[training]
    centre, scale = _statistics(seen, standardise)
    coding = ArrayCoding(shape, "new_classes", ways, centre=centre, scale=scale)
    if content.groups is None:
        return coding
    raw = content.targets
    if aim == "numbers" or (aim == "auto" and raw.dtype.kind == "f"):
        return _for_numbers(coding, raw, training, content.where, standardise)
    texts = label_texts(raw, f"{content.where}, y")
    names = sorted_labels([text for text, own in zip(texts, training, strict=True) if own])
    if not 2 <= len(names) <= _MOST_CLASSES:
        raise DataError(
            f"{content.where}, y has {len(names)} classes in training: use 2 to "
            f"{_MOST_CLASSES}, tasks.aim=numbers for numbers, or leave groups out to tell new "
            "classes apart"
        )
    return replace(coding, aim="classes", outputs=len(names), classes=tuple(names))


def _for_numbers(
    coding: ArrayCoding, raw: Array, training: Array, where: str, standardise: bool
) -> ArrayCoding:
    """Return the coding for numbers to predict."""
    if raw.dtype.kind == "U" or raw.ndim > 2:
        raise DataError(f"{where}, y is no column of numbers: use [n] or [n, d], or aim='classes'")
    refuse_infinite(raw, f"{where}, y")
    flat = raw[training].reshape(int(training.sum()), -1).astype(np.float64)
    if (flat == flat[:1]).all():
        raise DataError(f"{where}, y is the same in all training rows: there is nothing to learn")
    centre, scale = _statistics(flat, standardise)
    return replace(
        coding, aim="numbers", outputs=flat.shape[1], target_centre=centre, target_scale=scale
    )


def _statistics(seen: Array, standardise: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation, where that is not 0: per place of a vector, else as a whole."""
    if not standardise:
        return (0.0,), (1.0,)
    axis = 0 if seen.ndim == 2 and seen.shape[1] <= _WIDE else None
    centre = np.atleast_1d(seen.mean(axis, dtype=np.float64))
    scale = np.atleast_1d(seen.std(axis, dtype=np.float64))
    scale = np.where(scale > 1e-12 * np.abs(centre), scale, 1.0)
    return tuple(centre.tolist()), tuple(scale.tolist())


def targets_of(content: ArrayContent, coding: ArrayCoding) -> Tensor:
    """Return the targets of all rows; labels that training has not seen are refused."""
    if coding.aim == "numbers":
        return coding.numbers(content.targets, content.where)
    texts = label_texts(content.targets, f"{content.where}, y")
    place = {name: i for i, name in enumerate(coding.classes)}
    for row, text in enumerate(texts):
        if text not in place:
            raise DataError(
                f"{content.where}, row {row} is of the class {text!r}, which no training group "
                "has: the model cannot know it; choose other groups for training (tasks.train)"
            )
    return torch.tensor([place[text] for text in texts], dtype=torch.int64)


def opened(path: Path) -> ArrayContent:
    """Return the arrays in an npz file, read once as long as it does not change."""
    return _opened(path.expanduser(), version_of(path))


@lru_cache(maxsize=2)
def _opened(path: Path, version: tuple[int, ...]) -> ArrayContent:
    del version
    found = read_arrays(path, ["X", "y"], ["groups", "splits"])
    return ArrayContent(
        found["X"], found["y"], found.get("groups"), f"file {path}", found.get("splits")
    )
