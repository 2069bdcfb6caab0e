"""Facts of small sets in the place of the published ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metaccord.data.published import facts
from metaccord.data.published.facts import PictureSet
from metaccord.tasks import published


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Callable[[PictureSet], None]:
    """Put facts in the place of the published ones of that name."""
    published._opened.cache_clear()

    def replace(entry: PictureSet) -> None:
        monkeypatch.setitem(facts.SETS, entry.name, entry)

    return replace
