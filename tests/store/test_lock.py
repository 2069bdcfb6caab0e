"""The lock of a run folder, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from metaccord import fs
from metaccord.errors import UsageError
from metaccord.rundir import RunDirectory

from .support import exit_code, fork


def test_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    def hold() -> None:
        RunDirectory.create(tmp_path / "run", {"lr": 0.1}).append({"step": 0})
        time.sleep(60)

    child = fork(hold)
    try:
        log = tmp_path / "run" / "records.jsonl"
        deadline = time.monotonic() + 20
        while not (log.exists() and log.read_bytes()) and time.monotonic() < deadline:
            time.sleep(0.005)
        with pytest.raises(UsageError) as caught:
            RunDirectory.open(tmp_path / "run")
        assert f"process {child} on host {socket.gethostname()!r}" in str(caught.value)
        assert len(RunDirectory.read(tmp_path / "run").records()) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
    RunDirectory.open(tmp_path / "run").close()  # The lock of a dead process is free.


def test_one_process_cannot_open_twice(tmp_path: Path) -> None:
    with (
        RunDirectory.create(tmp_path, {}),
        pytest.raises(UsageError, match=f"process {os.getpid()} "),
    ):
        RunDirectory.open(tmp_path)


def test_forked_children_neither_hold_nor_use_the_lock(tmp_path: Path) -> None:
    """A data worker that outlives its run must not keep the run busy."""
    read_end, write_end = os.pipe()
    with RunDirectory.create(tmp_path, {}) as run:

        def worker() -> None:
            with pytest.raises(UsageError, match="needs the lock"):
                run.append({"step": 1})
            run.close()
            os.close(write_end)
            os.read(read_end, 1)

        child = fork(worker)
        with pytest.raises(UsageError, match="in use"):
            RunDirectory.open(tmp_path)
    RunDirectory.open(tmp_path).close()
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(write_end)
    assert exit_code(child) == 0
    os.close(read_end)


def test_a_child_that_has_not_run_yet_does_not_hold_a_released_lock(tmp_path: Path) -> None:
    first = fs.lock(tmp_path / "lock", b"")
    assert first is not None
    copy = os.dup(first)  # What a forked child owns before its first instruction.
    fs.unlock(first)
    second = fs.lock(tmp_path / "lock", b"")
    assert second is not None
    fs.unlock(second)
    os.close(copy)


def test_the_lock_of_a_killed_run_is_free_though_its_worker_lives(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()

    def train() -> None:
        with RunDirectory.create(tmp_path / "run", {}):
            worker = fork(lambda: time.sleep(60) if _tell(write_end, os.getpid()) else None)
            exit_code(worker)

    child = fork(train)
    worker = int.from_bytes(os.read(read_end, 8), "little")
    try:
        with pytest.raises(UsageError, match=f"process {child} "):
            RunDirectory.open(tmp_path / "run")
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        os.kill(worker, 0)
        RunDirectory.open(tmp_path / "run").close()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(read_end)
        os.close(write_end)


def _tell(end: int, number: int) -> bool:
    return os.write(end, number.to_bytes(8, "little")) == 8
