"""A cut of reliability/races.py, and a lock that it must catch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from races import races

from metaccord import fs

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_races(tmp_path: Path) -> None:
    found = races(tmp_path, 4)
    print(found.detail)
    assert found.ok, found


def test_a_lock_that_everybody_gets_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = dict.fromkeys(("LOCK_EX", "LOCK_NB", "LOCK_UN"), 0)
    monkeypatch.setattr(fs, "fcntl", SimpleNamespace(flock=lambda *given: None, **flags))
    assert races(tmp_path, 2).worst > 0
