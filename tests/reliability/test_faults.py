"""A cut of reliability/faults.py, and a writer that it must catch."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from faults import OPERATIONS, faults

from metaccord import checkpoint
from metaccord.errors import ResourceError

pytestmark = pytest.mark.usefixtures("nothing_stays")

SAVE, *OTHERS = OPERATIONS


def test_every_call_of_save(tmp_path: Path) -> None:
    found = faults(tmp_path, [SAVE], [errno.ENOSPC, errno.EIO])
    print(found.detail)
    assert found.ok, found
    assert found.count > 200


def test_every_call_of_log_resume_and_start(tmp_path: Path) -> None:
    found = faults(tmp_path, OTHERS, [errno.EIO], [False])
    print(found.detail)
    assert found.ok, found
    assert found.count > 80


@pytest.mark.parametrize("kind", ["claims what failed", "removes first"])
def test_broken_writers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    commit, rotate = checkpoint._commit, checkpoint._rotate

    def claims(target: Path, files: dict[str, bytes]) -> None:
        with suppress(ResourceError):
            commit(target, files)

    def removes_first(target: Path, files: dict[str, bytes]) -> None:
        rotate(target.parent, 10**6, 1, None, 0)
        for step in checkpoint.saved(target.parent):
            checkpoint.fs.remove(target.parent / f"step-{step:06d}")
        commit(target, files)

    broken: Callable[[Path, dict[str, bytes]], None]
    broken = claims if kind == "claims what failed" else removes_first
    monkeypatch.setattr(checkpoint, "_commit", broken)
    assert faults(tmp_path, [SAVE], [errno.ENOSPC], [False]).worst > 0
