"""One thread: forked children are safe, numbers are the same everywhere, two tests run at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Undo what a test, or the command line in it, has set."""
    yield
    torch.set_num_threads(1)
