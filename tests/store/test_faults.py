"""In what order the disk is waited for, and what is said when a call fails.

That nothing is lost when any call fails is in tests/reliability/test_faults.py.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import safetensors.torch
from failing import ERRNOS, FailingOs

from metaccord import checkpoint, fs
from metaccord.errors import ResourceError

from .support import assert_same, example


def test_the_disk_is_waited_for_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kill shows a missing fsync, because the page cache survives it; the order does."""
    counting = FailingOs()
    with monkeypatch.context() as patch:
        patch.setattr(fs, "os", counting)
        checkpoint.write(tmp_path, example(1))
    order = [name for name in counting.calls if name in ("mkdir", "write", "fsync", "replace")]
    one_file = ["write", "fsync"]
    assert order == ["mkdir", "mkdir", "fsync", *one_file * 3, "fsync", "replace", "fsync"]


@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.get)
def test_every_error_names_path_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fs, "os", FailingOs(1, code))
        with pytest.raises(ResourceError) as caught:
            fs.write(tmp_path / "file", b"content")
    assert caught.value.exit_code == 6
    assert str(tmp_path / "file") in str(caught.value)
    assert errno.errorcode[code] in str(caught.value)
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "free space"), (errno.EROFS, "read-only"), (errno.EMFILE, "ulimit -n"),
     (errno.EINTR, "try again")],
    ids=str,
)  # fmt: skip
def test_the_remedy_is_that_of_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fs, "os", FailingOs(1, code))
        with pytest.raises(ResourceError, match=words):
            fs.write(tmp_path / "file", b"content")


def test_a_failed_replacement_leaves_one_whole_file_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails: the old content or the new one, and nothing beside it."""
    path, number, failed = tmp_path / "file", 0, True
    before = len(os.listdir("/proc/self/fd"))
    while failed:
        number += 1
        fs.write_atomic(path, b"old")
        failing = FailingOs(number)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "os", failing)
            try:
                fs.write_atomic(path, b"new")
            except ResourceError:
                assert failing.fired
        failed = bool(failing.fired)
        assert path.read_bytes() in ((b"old", b"new") if failed else (b"new",))
        assert os.listdir(tmp_path) == ["file"]
        assert len(os.listdir("/proc/self/fd")) == before
    assert number > 5


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")], ids=repr)
@pytest.mark.parametrize("name", ["save", "load"])
def test_short_of_memory_no_checkpoint_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    """Neither are its tensors unfit, nor is an intact file damaged and put aside."""
    checkpoint.write(tmp_path, example(1))

    def broken(*given: object) -> None:
        raise error

    monkeypatch.setattr(safetensors.torch, name, broken)
    with pytest.raises(type(error)):
        if name == "save":
            checkpoint.write(tmp_path, example(2))
        else:
            checkpoint.read(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert_same(checkpoint.read(tmp_path), example(1))
