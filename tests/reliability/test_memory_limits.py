"""A cut of reliability/memory.py, and two defects that it must catch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from memory import handles, memory

import metaccord.cli.main as command_line
from metaccord import checkpoint
from metaccord.errors import ResourceError

pytestmark = pytest.mark.usefixtures("nothing_stays")


@pytest.mark.long  # filling the heap of a test process takes its time
def test_memory(tmp_path: Path) -> None:
    found = memory(tmp_path, 4, ("save",))
    print(found.detail)
    assert found.ok, found


def test_handles(tmp_path: Path) -> None:
    found = handles(tmp_path, 1, ("save",))
    print(found.detail)
    assert found.ok, found
    assert "with 6" in found.detail


@pytest.mark.long
def test_a_lack_of_memory_that_is_not_told_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "ran_out", lambda error: False)
    found = memory(tmp_path, 2, ("begin",))
    assert found.worst > 0  # what was enough once may just not be another time


def test_a_save_that_only_says_so_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write

    def hopes(*given: Any, **named: Any) -> None:
        with suppress(ResourceError):
            write(*given, **named)

    monkeypatch.setattr(checkpoint, "write", hopes)
    found = handles(tmp_path, 1, ("save",))
    assert found.worst == 1
    assert "was said to be safe" in found.detail
