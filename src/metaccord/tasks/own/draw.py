"""The random numbers of one task, for functions of users."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metaccord.tasks.stream import below, permutation, uniforms, words

KEYS = 2
"""Words that come before: those of the keys."""
_BLOCK = 256  # words made at a time


class Draw:
    """The random numbers of one task: they depend on seed, split, step and task alone.

    Attributes:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        shots, queries: Examples that the source is asked for.
    """

    def __init__(self, address: tuple[int, str, int, int], shots: int, queries: int) -> None:
        self.split, self.shots, self.queries = address[1], shots, queries
        self._address, self._used = address, KEYS
        self._words = words(*address, _BLOCK)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` words of 64 bits."""
        end = self._used + count
        if end > len(self._words):
            self._words = words(*self._address, 2 * end)
        found = self._words[self._used : end]
        self._used = end
        return found

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Return numbers in [low, high): ``[*shape]``."""
        found = uniforms(self.words(int(np.prod(shape, dtype=int)))).reshape(shape)
        return low + (high - low) * found

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Return numbers of a standard normal distribution: ``[*shape]``.

        Reference:
            Box, Muller, Annals of Mathematical Statistics 29(2), 1958.
        """
        one, other = self.uniform(2, *shape)
        return np.sqrt(-2.0 * np.log1p(-one)) * np.cos(2.0 * np.pi * other)

    def integers(self, bound: int, *shape: int) -> NDArray[np.int64]:
        """Return whole numbers in [0, bound): ``[*shape]``."""
        return below(self.words(int(np.prod(shape, dtype=int))), bound).reshape(shape)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Return the numbers below ``count`` in random order."""
        return permutation(self.words(count))
