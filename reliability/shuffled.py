"""A plug-in of pytest (``-p shuffled``) that draws the order of the tests with a given seed.

A file of names, one a line, says which tests are left out.
"""

from __future__ import annotations

import os
import random
from itertools import groupby
from pathlib import Path

import pytest

SEED = "METACCORD_SHUFFLE"
WITHOUT = "METACCORD_WITHOUT"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out some tests; shuffle the files, and the tests inside each."""
    if WITHOUT in os.environ:
        names = set(Path(os.environ[WITHOUT]).read_text().splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in names])
        items[:] = [item for item in items if item.nodeid not in names]
    draw = random.Random(int(os.environ[SEED]))
    files = [list(found) for _, found in groupby(items, lambda item: item.path)]
    draw.shuffle(files)
    for found in files:
        draw.shuffle(found)
    items[:] = [item for found in files for item in found]
