"""The only source of randomness: words that depend on nothing but their address.

NumPy promises the raw bit streams of its generators across versions, not the methods of
``Generator``; hence permutations and uniforms are made from raw words here.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def words(seed: int, split: str, step: int, task: int, count: int) -> NDArray[np.uint64]:
    """Return ``count`` 64-bit words for one task of one meta-step of one split."""
    name = f"{seed}/{split}/{step}/{task}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    return np.random.Philox(key=key).random_raw(count)


def uniforms(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return float64 numbers in [0, 1), one per word."""
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def permutation(raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return a permutation of ``range(len(raw))``."""
    return np.argsort(raw, kind="stable")


def below(raw: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Return integers in [0, bound), one per word."""
    return np.minimum((uniforms(raw) * bound).astype(np.int64), bound - 1)


def subset(raw: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Return k different integers in [0, size), in random order, from 2 k words; k <= size.

    The effort grows with k alone.

    Reference:
        Bentley, Floyd, Programming pearls: a sample of brilliance, CACM 30(9), 1987.
    """
    count = len(raw) // 2
    found: dict[int, None] = {}
    for top, unit in zip(range(size - count, size), uniforms(raw[:count]).tolist(), strict=True):
        drawn = min(int(unit * (top + 1)), top)
        found[top if drawn in found else drawn] = None
    return np.fromiter(found, np.int64, count)[permutation(raw[count:])]


def distinct(raw: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return n different integers in [0, size), in random order, from n words each.

    The k-th word chooses among the ``size - k`` integers that are left, counted in order.

    Args:
        raw: Words ``[..., n]``.
        sizes: At least n, ``[...]``.
    """
    found = np.zeros(raw.shape, dtype=np.int64)
    for k in range(raw.shape[-1]):
        place = (uniforms(raw[..., k]) * (sizes - k)).astype(np.int64)
        place = np.minimum(place, sizes - k - 1)
        for taken in np.moveaxis(np.sort(found[..., :k], axis=-1), -1, 0):
            place += place >= taken
        found[..., k] = place
    return found
