"""Checkpoints that rotation leaves alone: one every so many meta-steps."""

from __future__ import annotations

from pathlib import Path

import pytest

import metaccord as mc
from metaccord import checkpoint
from metaccord.errors import CheckpointError, UsageError
from tests.cli.support import equal_runs, tiny, train

from .support import assert_same, example


@pytest.mark.parametrize(
    ("keep", "best", "every", "expected"),
    [
        (1, None, 3, [3, 6, 8]),
        (2, None, 3, [3, 6, 7, 8]),
        (2, 1, 4, [1, 4, 7, 8]),
        (1, None, 1, [1, 2, 3, 4, 5, 6, 7, 8]),
        (2, None, 9, [7, 8]),
        (2, None, 0, [7, 8]),
    ],
)
def test_rotation(
    tmp_path: Path, keep: int, best: int | None, every: int, expected: list[int]
) -> None:
    for step in range(1, 9):
        checkpoint.write(tmp_path, example(step), keep=keep, best=best, every=every)
    assert checkpoint.saved(tmp_path) == expected
    for step in expected:
        assert_same(checkpoint.read(tmp_path, step), example(step))


def test_what_a_changed_number_does_not_keep_goes(tmp_path: Path) -> None:
    for step, every in ((2, 2), (3, 3), (4, 3), (5, 3)):
        checkpoint.write(tmp_path, example(step), keep=1, every=every)
    assert checkpoint.saved(tmp_path) == [3, 5]


def test_a_negative_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every=-1"):
        checkpoint.write(tmp_path / "folder", example(1), every=-1)
    assert not (tmp_path / "folder").exists()
    with pytest.raises(UsageError, match="keep_every is -1: it must be 0 or more"):
        tiny("keep_every=-1")


def test_a_run_saves_there_and_keeps_them(tmp_path: Path) -> None:
    """Also between the steps of ``checkpoint_every``, which rotate."""
    train(tmp_path / "run", "steps=11", "checkpoint_every=2", "keep_every=3")
    assert checkpoint.saved(tmp_path / "run" / "checkpoints") == [3, 6, 9, 10, 11]
    train(tmp_path / "plain", "steps=11", "checkpoint_every=2")
    assert checkpoint.saved(tmp_path / "plain" / "checkpoints") == [10, 11]
    assert equal_runs(tmp_path / "run", tmp_path / "plain"), "saving changes no number"


def test_a_resumed_run_may_change_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, "steps=4", "keep_every=2")
    list(mc.run(tiny("steps=9", "keep_every=3"), out, resume=True))
    assert checkpoint.saved(out / "checkpoints") == [6, 9]
    with pytest.raises(CheckpointError, match="num_tasks"):
        list(mc.run(tiny("steps=9", "keep_every=3", "num_tasks=3"), out, resume=True))
