"""A cut of reliability/power_loss.py, and writers that it must catch; the disk by hand."""

from __future__ import annotations

import os
import random
from pathlib import Path
from unittest import mock

import pytest
from disk import Disk, RecordingOs
from power_loss import power_losses

from metaccord import checkpoint, fs
from tests.reliability.test_kills import write_in_place

pytestmark = pytest.mark.usefixtures("nothing_stays")


def test_states(tmp_path: Path) -> None:
    found = power_losses(tmp_path, 200)
    print(found.detail)
    assert found.ok, found


def hasty(path: Path, content: bytes) -> None:
    """A writer that does not wait for the disk."""
    with path.open("wb", buffering=0) as file:
        descriptor = fs.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        fs.os.write(descriptor, content)
        fs.os.close(descriptor)
        del file


@pytest.mark.parametrize("kind", ["no fsync of files", "no fsync of folders", "not atomic"])
def test_broken_writers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "no fsync of files":
        monkeypatch.setattr(fs, "write", hasty)
    elif kind == "no fsync of folders":
        monkeypatch.setattr(fs, "sync", lambda path: None)
    else:
        monkeypatch.setattr(checkpoint, "_commit", write_in_place)
    assert power_losses(tmp_path, 60).worst > 0


def test_what_a_disk_forgets(tmp_path: Path) -> None:
    """One file, synced, renamed and extended: each fate of what came after the sync."""
    root = tmp_path / "root"
    root.mkdir()
    notes = RecordingOs()
    with mock.patch.object(fs, "os", notes):
        fs.write(root / "a", b"safe")
        fs.sync(root)
        fs.append(root / "a", b" more", 4)
        fs.replace(root / "a", root / "b")
    disk = Disk(root)
    for operation in notes.trace:
        disk.apply(operation)
    found = set()
    for data in ("lost", "kept", "zeros"):
        for names in ("lost", "kept"):
            target = tmp_path / f"{data} {names}"
            disk.write(target, data, names, random.Random(0))
            (only,) = target.iterdir()
            found.add((data, names, only.name, only.read_bytes()))
    contents = {"lost": b"safe", "kept": b"safe more", "zeros": b"safe" + bytes(5)}
    assert found == {
        (data, names, name, content)
        for data, content in contents.items()
        for names, name in (("lost", "a"), ("kept", "b"))
    }
    disk.write(tmp_path / "part", "part", "part", random.Random(1))
    (only,) = (tmp_path / "part").iterdir()
    assert b"safe more".startswith(only.read_bytes())
