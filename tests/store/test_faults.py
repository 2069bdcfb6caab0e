"""Every system call of a save fails once: the older checkpoint stays, and no save is claimed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metaccord import checkpoint, fs
from metaccord.errors import MetaccordError, ResourceError
from metaccord.rundir import RunDirectory

from .support import FailingOs, assert_same, copy_of, example

NEVER = 10**9
CODES = [errno.ENOSPC, errno.EIO]


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real fsync calls cost most of the time here and their failure is injected anyway."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def _calls(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    counting = FailingOs(NEVER, errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "os", counting)
        work()
    return counting.calls


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "persistent"])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_save_and_rotate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    persistent: bool,
) -> None:
    origin = tmp_path / "origin"
    for step in (1, 2):
        checkpoint.write(origin, example(step))
    (origin / ".trash-step-000000").mkdir()
    folder = copy_of(origin, tmp_path / "run")
    calls = _calls(lambda: checkpoint.write(folder, example(3)), monkeypatch)
    assert len(calls) > 60
    assert {"open", "write", "fsync", "close", "replace", "unlink", "rmdir"} <= set(calls)
    claimed = 0
    for at in range(1, len(calls) + 1):
        copy_of(origin, folder)
        failing = FailingOs(at, code, persistent=persistent)
        caplog.clear()
        saved = False
        with monkeypatch.context() as patch:
            patch.setattr(fs, "os", failing)
            try:
                checkpoint.write(folder, example(3))
                saved = True
            except ResourceError as error:
                assert errno.errorcode[code] in str(error)
                assert str(folder) in str(error)
        where = (at, failing.calls[at - 1])
        assert failing.fired, where
        assert not saved or caplog.records, where
        for name in os.listdir(folder):
            if name.startswith("step-"):  # Whatever has a final name is whole.
                checkpoint.verify(folder / name)
        assert_same(checkpoint.read(folder, step=2), example(2))
        found = checkpoint.read(folder)
        assert found.step == 3 if saved else found.step in (2, 3), where
        assert_same(found, example(found.step))
        checkpoint.write(folder, example(3))  # The trouble is over: the next save heals all.
        assert sorted(os.listdir(folder)) == ["step-000002", "step-000003"], where
        claimed += saved
    assert 0 < claimed < len(calls) / 2


def test_the_disk_is_waited_for_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kill shows a missing fsync, because the page cache survives it; the order does."""
    calls = _calls(lambda: checkpoint.write(tmp_path, example(1)), monkeypatch)
    order = [name for name in calls if name in ("mkdir", "write", "fsync", "replace")]
    one_file = ["write", "fsync"]
    assert order == ["mkdir", "mkdir", "fsync", *one_file * 3, "fsync", "replace", "fsync"]


@pytest.mark.parametrize("code", [*CODES, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE])
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


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A failed append is loud, and neither it nor the next one harms a record."""
    with RunDirectory.create(tmp_path / "run", {}) as run:
        calls = _calls(lambda: run.append({"step": 0}), monkeypatch)
        for at in range(1, len(calls) + 1):
            before = run.records()
            failing = FailingOs(at, code)
            with monkeypatch.context() as patch:
                patch.setattr(fs, "os", failing)
                with pytest.raises(ResourceError):
                    run.append({"step": at, "loss": "long enough to be cut in two"})
            assert failing.fired
            run.append({"step": at})
            assert run.records() == [*before, {"step": at}]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    records = [{"step": step} for step in range(5)]
    with RunDirectory.create(tmp_path / "run", {}) as run:
        for record in records:
            run.append(record)
        run.sync()
    origin = copy_of(tmp_path / "run", tmp_path / "origin")
    with RunDirectory.open(tmp_path / "run") as run:
        calls = _calls(lambda: run.cut(2), monkeypatch)
    for at in range(1, len(calls) + 1):
        with RunDirectory.open(copy_of(origin, tmp_path / "run")) as run:
            failing = FailingOs(at, code)
            with monkeypatch.context() as patch:
                patch.setattr(fs, "os", failing)
                with pytest.raises(ResourceError):
                    run.cut(2)
            assert failing.fired
            assert run.records() in (records, records[:3])
            run.cut(2)
            run.append({"step": 3, "again": True})
            assert run.records() == [*records[:3], {"step": 3, "again": True}]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_create_and_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A failed create can be repeated in the same folder; a failed open leaves no lock."""

    def create(name: str) -> None:
        RunDirectory.create(tmp_path / name / "run", {"lr": 0.1}).close()

    def reopen(name: str) -> None:
        RunDirectory.open(tmp_path / name / "run").close()

    for work in (create, reopen):
        create("counted") if work is reopen else None
        calls = _calls(lambda w=work: w("counted"), monkeypatch)  # type: ignore[misc]
        for at in range(1, len(calls) + 1):
            name = f"{work.__name__}-{at}"
            create(name) if work is reopen else None
            failing = FailingOs(at, code)
            with monkeypatch.context() as patch:
                patch.setattr(fs, "os", failing)
                try:
                    work(name)
                except MetaccordError as error:
                    assert error.exit_code in (2, 6)
            assert failing.fired
            if not (tmp_path / name / "run" / "run.json").exists():
                create(name)
            with RunDirectory.open(tmp_path / name / "run") as run:
                assert run.config == {"lr": 0.1}
                assert run.records() == []
        RunDirectory.read(tmp_path / "counted" / "run")
        (tmp_path / "counted").rename(tmp_path / f"counted-{work.__name__}")
