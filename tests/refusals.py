"""What every refusal keeps to: the right kind, one short line, the words that help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from metaccord.errors import UsageError


@contextmanager
def refusal(words: Sequence[str], *kinds: type[Exception]) -> Iterator[None]:
    """Expect that the block raises one of ``kinds``, by default a UsageError, with all words."""
    with pytest.raises(kinds or UsageError) as caught:
        yield
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message
    assert len(message) < 500
