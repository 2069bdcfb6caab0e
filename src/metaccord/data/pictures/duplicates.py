"""The same picture twice: identical ones, and near ones by their difference hash."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.pictures.decoded import Decoded

_BITS = 3  # of 64 in which near pictures may differ: four bands of 16, one of which is equal
_LEVELS = 6.0  # mean difference of grey levels of near pictures
_MOST = 1 << 20  # pairs of one band that are looked at
Pairs = NDArray[np.int64]


class Leaks(NamedTuple):
    """Pairs of pictures in different splits, as rows ``[P, 2]``.

    Attributes:
        identical: The same pixels after decoding.
        near: Nearly the same: their difference hashes and their pixels hardly differ.
    """

    identical: Pairs
    near: Pairs


def leaks(pictures: Decoded, splits: NDArray[np.int64]) -> Leaks:
    """Return pictures that are in two splits.

    Args:
        pictures: All of them.
        splits: The split of each row, ``[N]``; below 0: in none.
    """
    used = np.flatnonzero(splits >= 0)
    exact = _crossing(pictures.marks[:, 0], used, splits)
    exact = exact[[_distance(pictures, pair) == 0 for pair in exact]] if len(exact) else exact
    near = _near(pictures, used, splits)
    known = {tuple(pair) for pair in exact.tolist()}
    kept = [p for p in near.tolist() if tuple(p) not in known]
    return Leaks(exact, np.array(kept, dtype=np.int64).reshape(-1, 2))


def repeated(pictures: Decoded) -> Pairs:
    """Return each picture that is there before, with the first like it: ``[P, 2]``."""
    marks = pictures.marks[:, 0]
    order = np.argsort(marks, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(marks[order]) != 0])
    first = order[np.repeat(starts, np.diff(np.r_[starts, len(order)]))]
    pairs = np.stack([first, order], axis=1)[first != order]
    return pairs[[_distance(pictures, pair) == 0 for pair in pairs]] if len(pairs) else pairs


def _crossing(keys: NDArray[np.uint64], used: Pairs, splits: NDArray[np.int64]) -> Pairs:
    """Return one pair for each picture whose key is in another split, too."""
    order = used[np.lexsort((splits[used], keys[used]))]
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0]) if len(order) else order
    first = order[np.repeat(starts, np.diff(np.r_[starts, len(order)]))] if len(order) else order
    return np.stack([first, order], axis=1)[splits[first] != splits[order]]


def _near(pictures: Decoded, used: Pairs, splits: NDArray[np.int64]) -> Pairs:
    marks = pictures.marks[:, 1]
    rich = used[np.abs(_ones(marks[used]) - 32) <= 24]  # others are plain
    found: set[tuple[int, int]] = set()
    for band in range(4):
        keys = (marks[rich] >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = rich[np.argsort(keys, kind="stable")]
        sorted_keys = np.sort(keys)
        looked, lag = 0, 1
        while lag < len(order) and looked < _MOST:
            alike = np.flatnonzero(sorted_keys[lag:] == sorted_keys[:-lag])
            if not len(alike):
                break
            looked += len(alike)
            one, other = order[alike], order[alike + lag]
            close = (splits[one] != splits[other]) & (_ones(marks[one] ^ marks[other]) <= _BITS)
            for pair in np.stack([one[close], other[close]], axis=1).tolist():
                a, b = sorted(pair, key=lambda row: (splits[row], row))
                found.add((a, b))
            lag += 1
    kept = [p for p in sorted(found) if _distance(pictures, np.array(p)) <= _LEVELS]
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def _ones(words: NDArray[np.uint64]) -> Pairs:
    """Return the number of bits that are 1 in each word."""
    return np.unpackbits(words[:, None].view(np.uint8), axis=1).sum(1, dtype=np.int64)


def _distance(pictures: Decoded, pair: Pairs) -> float:
    """Return the mean absolute difference of two pictures, in levels of 255."""
    one, other = pictures.rows(pair).astype(np.float32)
    scale = 255 if pictures.recipe.form.mode == "ink" else 1
    return float(np.abs(one - other).mean()) * scale
