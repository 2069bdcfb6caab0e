"""A cut of reliability/kills.py, and writers that it must catch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from metaccord import checkpoint, fs
from metaccord.rundir import RunDirectory
from metaccord.selftest.kills import fresh_kills, kills

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_forked_trainings(tmp_path: Path) -> None:
    found = kills(tmp_path, 24)
    print(found.detail)
    assert found.ok, found


def test_fresh_processes(tmp_path: Path) -> None:
    found = fresh_kills(tmp_path, 2)
    print(found.detail)
    assert found.ok, found


def write_in_place(target: Path, files: dict[str, bytes]) -> None:
    """A writer that is not atomic: a half-written checkpoint has its final name."""
    fs.make(target)
    for name, content in files.items():
        fs.write(target / name, content)
        time.sleep(0.003)  # as on a slow disk


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (checkpoint, "_commit", write_in_place),
        (RunDirectory, "cut", lambda folder, step: None),
    ],
    ids=["not atomic", "records are not cut"],
)
def test_broken_writers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, broken: Any
) -> None:
    monkeypatch.setattr(owner, name, broken)
    found = kills(tmp_path, 18)
    assert found.worst > 0
    assert found.fired == found.count
