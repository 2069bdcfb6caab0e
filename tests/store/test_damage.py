"""What is no checkpoint is refused with its reason, and older ones serve.

Flipped bits, cut and exchanged files by the thousand are in tests/reliability/test_damage.py.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
from failing import FailingOs

from metaccord import checkpoint, checkpoint_files, fs
from metaccord.errors import CheckpointError, ResourceError

from .support import assert_same, copy_of, example

FILES = ("tensors.safetensors", "state.json", "manifest.json")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    for step in (1, 2):
        checkpoint.write(folder, example(step))
    return folder


@pytest.mark.parametrize("name", FILES)
def test_additions(pair: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(pair / "step-000002", tmp_path / "step-000002")
    good = (folder / name).read_bytes()
    zeroed = bytes(len(good))
    for bad in (good + b"\n", good + b"\0", good + good, zeroed, good[:8] + zeroed[8:]):
        (folder / name).write_bytes(bad)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.verify(folder)


def test_swaps_inside_a_checkpoint(pair: Path, tmp_path: Path) -> None:
    for first in FILES:
        for second in FILES:
            folder = copy_of(pair / "step-000002", tmp_path / "step-000002")
            shutil.copy(pair / "step-000002" / first, folder / second)
            if first == second:
                checkpoint.verify(folder)
                continue
            with pytest.raises(CheckpointError, match="damaged"):
                checkpoint.verify(folder)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "extra", "empty", "file"])
@pytest.mark.parametrize("name", FILES)
def test_wrong_kinds_of_files(pair: Path, tmp_path: Path, kind: str, name: str) -> None:
    folder = copy_of(pair / "step-000002", tmp_path / "step-000002")
    if kind in ("missing", "folder", "pipe"):
        (folder / name).unlink()
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "extra":
        (folder / f"{name}.pt").write_bytes(b"")
    elif kind in ("empty", "file"):
        shutil.rmtree(folder)
        folder.mkdir() if kind == "empty" else folder.write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.verify(folder)
    copy_of(pair / "step-000001", tmp_path / "step-000001")
    assert_same(checkpoint.read(tmp_path), example(1))


def test_walks_back_with_a_warning_and_deletes_nothing(
    pair: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(pair, tmp_path / "run")
    bad = b"{" + (folder / "step-000002" / "state.json").read_bytes()
    (folder / "step-000002" / "state.json").write_bytes(bad)
    with pytest.raises(CheckpointError, match=r"state\.json"):
        checkpoint.read(folder, step=2)
    assert sorted(os.listdir(folder)) == ["step-000001", "step-000002"]
    with caplog.at_level(logging.WARNING):
        assert_same(checkpoint.read(folder), example(1))
    assert "state.json" in caplog.text
    assert "renamed to step-000002.corrupt" in caplog.text
    assert (folder / "step-000002.corrupt" / "state.json").read_bytes() == bad
    (folder / "step-000001" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        checkpoint.read(folder)
    assert sorted(os.listdir(folder)) == ["step-000001.corrupt", "step-000002.corrupt"]


@pytest.mark.parametrize(("code", "survives"), [(errno.EIO, True), (errno.EMFILE, False)])
def test_read_errors(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, survives: bool
) -> None:
    """A defect of the disk is damage; running out of handles says nothing about the files."""
    folder = copy_of(pair, tmp_path / "run")
    honest = os.read

    class Os(FailingOs):
        def read(self, descriptor: int, size: int) -> bytes:
            if "step-000002" in os.readlink(f"/proc/self/fd/{descriptor}"):
                self.fired.append("read")
                raise OSError(code, os.strerror(code))
            return honest(descriptor, size)

    failing = Os(0, code)
    failing.at = 10**9
    monkeypatch.setattr(fs, "os", failing)
    if survives:
        assert_same(checkpoint.read(folder), example(1))
    else:
        with pytest.raises(ResourceError, match="EMFILE"):
            checkpoint.read(folder)
    assert failing.fired
    assert (folder / "step-000002").exists() is not survives


def test_damage_that_cannot_be_renamed_does_not_stop_the_walk(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(pair, tmp_path / "run")
    (folder / "step-000002" / "manifest.json").unlink()

    def refuse(source: Path, target: Path) -> None:
        raise ResourceError(f"cannot rename to {target}")

    monkeypatch.setattr(fs, "replace", refuse)
    assert_same(checkpoint.read(folder), example(1))
    assert "keeps its name" in caplog.text


def test_a_reader_survives_rotation_by_another_process(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(pair, tmp_path / "run")
    honest = checkpoint_files.load
    calls: list[str] = []

    def load(path: Path) -> checkpoint.Checkpoint:
        calls.append(path.name)
        if len(calls) == 1:  # Between listing and reading, the run saves twice and rotates.
            monkeypatch.setattr(checkpoint, "load", honest)
            for step in (3, 4):
                checkpoint.write(folder, example(step), keep=1)
            monkeypatch.setattr(checkpoint, "load", load)
        return honest(path)

    monkeypatch.setattr(checkpoint, "load", load)
    assert_same(checkpoint.read(folder), example(4))
    assert calls[0] == "step-000002"
    assert os.listdir(folder) == ["step-000004"]
