"""A plug-in of pytest (``-p shuffled``) that draws the order of the tests with a given seed."""

from __future__ import annotations

import os
import random
from itertools import groupby

import pytest

SEED = "METACCORD_SHUFFLE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, and the tests inside each."""
    draw = random.Random(int(os.environ[SEED]))
    files = [list(found) for _, found in groupby(items, lambda item: item.path)]
    draw.shuffle(files)
    for found in files:
        draw.shuffle(found)
    items[:] = [item for found in files for item in found]
