"""What the tests of long runs share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    """Fail if a child process or an open file is left behind."""
    gc.collect()  # what earlier tests have dropped is not ours
    before = _held()
    yield
    assert _held() == before


def _held() -> tuple[list[str], int]:
    """Return the numbers of all children, and how many files are open."""
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return " ".join(children).split(), len(os.listdir("/proc/self/fd"))
