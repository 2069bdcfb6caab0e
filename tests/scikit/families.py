"""Families of small tasks: sine waves, and blobs in two columns beside columns of noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import RandomState

COLUMNS, NOISE = 10, 3.0
NAMES = np.array(["ant", "bee", "cat", "dog", "eel"])


def sine(draw: RandomState, count: int) -> tuple[Any, Any]:
    """One wave: ``[count, 1]`` and ``[count]``."""
    height, phase = draw.uniform(0.5, 3), draw.uniform(0, 2 * np.pi)
    x = draw.uniform(-5, 5, (count, 1))
    return x, height * np.sin(x[:, 0] + phase)


def blobs(draw: RandomState, count: int, ways: int = 3) -> tuple[Any, Any]:
    """Classes that differ in the first two columns; the others are louder and say nothing."""
    while True:
        centres = 3 * draw.normal(size=(ways, 2))
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        if min(gaps) > 3:
            break
    y = np.arange(count) % ways
    x = NOISE * draw.normal(size=(count, COLUMNS))
    x[:, :2] = centres[y] + draw.normal(size=(count, 2))
    return x, NAMES[y]
