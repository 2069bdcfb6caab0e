"""kill -9 at random instants of a save loop: the newest checkpoint always loads, verified."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import torch

from metaccord import checkpoint
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError
from metaccord.rundir import RunDirectory

from .support import assert_same, exit_code, fork

KILLS = 12


def _at(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": torch.full((20_000,), float(step))}, {"step": step})


def _train(path: Path, report: int) -> None:
    """Go on from the newest checkpoint for ever; tell the parent every step that was saved."""
    resumed = (path / "run.json").exists()
    with RunDirectory.open(path) if resumed else RunDirectory.create(path, {}) as run:
        try:
            step = checkpoint.read(run.checkpoints).step
        except CheckpointError:
            step = 0
        run.cut(step)
        while True:
            step += 1
            run.append({"step": step, "loss": 1 / step})
            run.sync()
            checkpoint.write(run.checkpoints, _at(step), best=1)
            os.write(report, step.to_bytes(8, "little"))


def test_kill_nine(tmp_path: Path) -> None:
    path, draw, last = tmp_path / "run", random.Random(9), 0
    for _ in range(KILLS):
        read_end, write_end = os.pipe()
        child = fork(lambda end=write_end: _train(path, end))  # type: ignore[misc]
        os.close(write_end)
        first = os.read(read_end, 8)  # It has saved once; now kill it at any instant.
        time.sleep(draw.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL, "the child ended before it was killed"
        told = first
        while chunk := os.read(read_end, 1 << 16):
            told += chunk
        os.close(read_end)
        reported = [int.from_bytes(told[i : i + 8], "little") for i in range(0, len(told), 8)]
        assert reported == list(range(reported[0], reported[-1] + 1))

        found = checkpoint.read(path / "checkpoints")
        assert found.step in (reported[-1], reported[-1] + 1)
        assert reported[0] in (last + 1, last + 2)
        assert_same(found, _at(found.step))
        assert_same(checkpoint.read(path / "checkpoints", step=1), _at(1))
        last = reported[-1]
        steps = [record["step"] for record in RunDirectory.read(path).records()]
        assert steps[: found.step] == list(range(1, found.step + 1))
    assert not [name for name in os.listdir(path / "checkpoints") if name.endswith(".corrupt")]
    assert last > KILLS
