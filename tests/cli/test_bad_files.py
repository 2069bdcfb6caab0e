"""Damaged, foreign and full: what is intact is used with a note, what is not is named."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from failing import FailingOs

from metaccord import checkpoint, fs
from metaccord.data import omniglot
from metaccord.tasks.omniglot import _data
from tests.cli.support import (
    SET,
    Result,
    copied,
    equal_runs,
    flip,
    last,
    records,
    snapshot,
    train,
)
from tests.cli.test_bad_input import refused

Run = Callable[..., Result]
TENSORS = "checkpoints/step-{:06d}/tensors.safetensors"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _both_checkpoints(run: Path) -> None:
    flip(run / TENSORS.format(2))
    flip(run / TENSORS.format(4))


def _no_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def _another_model(run: Path) -> None:
    """Put the checkpoints of a wider model there, intact and sealed."""
    train(run.parent / "wider", "model.hidden=[5]", "steps=4", "checkpoint_every=2")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(run.parent / "wider" / "checkpoints", run / "checkpoints")
    shutil.rmtree(run.parent / "wider")


def _middle_record(run: Path) -> None:
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(lines[0] + b'{"step": 2, "lo\n' + b"".join(lines[2:]))


def _no_records(run: Path) -> None:
    (run / "records.jsonl").unlink()


RESUME = "train sinusoid --resume --out run --steps 6 "
DAMAGES: list[tuple[Callable[[Path], None], str, int, list[str]]] = [
    (lambda run: flip(run / "run.json"), "evaluate run", 4, ["run.json", "damaged"]),
    (lambda run: flip(run / "run.json"), RESUME, 4, ["run.json", "damaged"]),
    (lambda run: flip(run / "run.json"), "plot run", 4, ["run.json", "damaged"]),
    (lambda run: flip(run / "run.json"), "cite run", 4, ["run.json", "damaged"]),
    (lambda run: flip(run / "run.json"), "compare run ./run", 4, ["run.json", "damaged"]),
    (lambda run: _cut(run / "run.json"), "evaluate run", 4, ["run.json", "damaged"]),
    (_both_checkpoints, "evaluate run", 4, ["no intact checkpoint among 2", "another --out"]),
    (_both_checkpoints, RESUME, 4, ["no intact checkpoint among 2", "another --out"]),
    (_both_checkpoints, "compare run ./run", 4, ["no intact checkpoint among 2"]),
    (_no_checkpoints, "evaluate run", 4, ["no checkpoint"]),
    (_no_checkpoints, RESUME, 4, ["no checkpoint"]),
    (_another_model, "evaluate run", 4, ["another model", "names or shapes"]),
    (_another_model, RESUME, 4, ["another model", "names or shapes"]),
    (_middle_record, RESUME, 4, ["records.jsonl', line 2", "damaged"]),
    (_middle_record, "plot run", 4, ["records.jsonl', line 2", "damaged"]),
    (_no_records, RESUME, 4, ["records.jsonl", "cannot be read"]),
    # intact, but asked for something else
    (lambda run: None, "train quadratics --resume --out run", 4, ["maml on sinusoid"]),
    (lambda run: None, RESUME + "--method reptile", 4, ["maml on sinusoid", "not reptile"]),
    (lambda run: None, RESUME + "--method mamml", 2, ["did you mean 'maml'?"]),
    (lambda run: None, RESUME + "--with agreement", 4, ["not maml+agreement"]),
    (lambda run: None, RESUME + "--seed 3", 4, ["seed: 0 in the run, 3 now"]),
    (lambda run: None, RESUME + "--set model.hidden=[5]", 4, ["model.hidden[0]: 4 in the run"]),
    (lambda run: None, RESUME + "--set tasks.shots=5", 4, ["tasks.shots: 4 in the run, 5 now"]),
    (lambda run: None, RESUME + "--set rule.lr=0.5", 4, ["rule.lr: 0.01 in the run, 0.5 now"]),
    (lambda run: None, RESUME + "--set outer.lr=0.5", 4, ["outer.lr", "leave them out"]),
    (lambda run: None, RESUME + "--set outer.lrr=0.5", 2, ["did you mean 'lr'?"]),
    (lambda run: None, RESUME + "--set num_tasks=3", 4, ["num_tasks: 2 in the run, 3 now"]),
    (lambda run: None, "train sinusoid --out run", 2, ["'run' already holds a run", "--resume"]),
    (lambda run: None, "train sinusoid --out run/plots/../", 2, ["already holds a run"]),
    (lambda run: None, "evaluate run --split tset", 2, ["split 'tset'", "did you mean 'test'?"]),
    (lambda run: None, "evaluate run/checkpoints", 2, ["holds no run"]),
]


@pytest.mark.parametrize(
    ("harm", "words", "code", "expected"),
    DAMAGES,
    ids=[f"{n}-{d[1]}" for n, d in enumerate(DAMAGES)],
)
def test_a_harmed_run_is_named(
    harm: Callable[[Path], None],
    words: str,
    code: int,
    expected: list[str],
    metaccord: Run,
    finished: Path,
    place: Path,
) -> None:
    run = copied(finished, place / "run")
    (run / "plots").mkdir()
    harm(run)
    refused(metaccord(words), code, expected)
    assert [path.name for path in place.iterdir()] == ["run"]
    kept = [name for name in snapshot(finished) if "step-" in name and harm is not _no_checkpoints]
    assert len([name for name in snapshot(run) if "step-" in name]) == len(kept), "nothing deleted"


@pytest.mark.parametrize("harm", [flip, _cut, Path.unlink], ids=["flip", "cut", "gone"])
def test_one_bad_checkpoint_of_several_is_a_note(
    harm: Callable[[Path], None], metaccord: Run, finished: Path, place: Path
) -> None:
    """The older one is used, the bad one put aside, and training again gives the same bits."""
    run = copied(finished, place / "run")
    harm(run / TENSORS.format(4))
    result = metaccord("evaluate run --tasks 2")
    assert result.code == 0
    assert "step-000004" in result.err
    assert "renamed to step-000004.corrupt" in result.err
    assert "at step 2:" in result.out
    result = metaccord("train sinusoid --resume --out run")
    assert result.code == 0, result.err
    assert equal_runs(run, finished)


def test_a_bad_newest_checkpoint_is_found_although_all_steps_are_done(
    metaccord: Run, finished: Path, place: Path
) -> None:
    run = copied(finished, place / "run")
    assert "has all 4 steps" in metaccord("train sinusoid --resume --out run").err
    flip(run / TENSORS.format(4))
    result = metaccord("train sinusoid --resume --out run")
    assert result.code == 0
    assert "step 4/4" in result.err
    assert equal_runs(run, finished)


def test_records_behind_the_checkpoint_are_made_again(
    metaccord: Run, finished: Path, place: Path
) -> None:
    """Also if the last lines are torn or damaged, which a killed process may leave."""
    run = copied(finished, place / "run")
    shutil.rmtree(run / "checkpoints" / "step-000004")
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:3]) + b'{"st\n' + lines[3][:-5])
    result = metaccord("train sinusoid --resume --out run")
    assert result.code == 0, result.err
    assert "line 4" in result.err
    assert equal_runs(run, finished)


def test_damaged_data_are_named(
    metaccord: Run, place: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (data_root / "omniglot" / omniglot.PROCESSED).read_bytes()
    damaged = place.parent / "data"
    damaged.mkdir()
    monkeypatch.setenv("METACCORD_DATA", str(damaged))
    bad = damaged / omniglot.PROCESSED
    for content in (
        whole[:-1000],
        whole[: len(whole) // 2],
        b"",
        b"<html>",
        whole[:9] + whole[10:],
    ):
        bad.write_bytes(content)
        for words in ("train omniglot", "data verify omniglot"):
            refused(metaccord(words), 3, [str(bad)])
    bad.write_bytes(whole)
    flip(bad)
    refused(metaccord("train omniglot"), 3, [str(bad)])
    with bad.open("wb") as handle:
        np.savez(handle, bits=np.zeros((1623, 20, 98), np.uint8))
    refused(metaccord("train omniglot"), 3, ["holds other pictures", "data fetch omniglot"])
    assert _data.cache_info().currsize == 0
    assert snapshot(place) == {}


def test_a_full_disk_keeps_the_earlier_checkpoint(
    metaccord: Run, finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at every seventh call between the two checkpoints; then there is room."""
    words = ("train", "sinusoid", "--steps", "4", "--out", "run", *SET, "checkpoint_every=2")
    counting = FailingOs(10**9, errno.ENOSPC)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "os", counting)
        assert metaccord(*words).code == 0
    assert equal_runs(place / "run", finished)
    renames = [n for n, name in enumerate(counting.calls, 1) if name == "replace"]
    assert len(renames) == 3, "run.json and two checkpoints"
    for at in [*range(renames[1] + 1, renames[2], 7), renames[2]]:
        shutil.rmtree(place / "run")
        failing = FailingOs(at, errno.ENOSPC, persistent=True)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "os", failing)
            result = metaccord(*words)
        if failing.fired[0] == "close":
            continue
        refused(result, 6, ["ENOSPC", "free space"])
        checkpoint.verify(place / "run" / "checkpoints" / "step-000002")
        result = metaccord("train sinusoid --resume --out run")
        assert result.code == 0, (at, result.err)
        assert equal_runs(place / "run", finished)


def test_a_full_disk_at_the_start_leaves_no_obstacle(
    metaccord: Run, finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "sinusoid", "--steps", "4", "--out", "a/run", *SET, "checkpoint_every=2")
    for at in range(1, 20, 4):
        failing = FailingOs(at, errno.ENOSPC, persistent=True)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "os", failing)
            result = metaccord(*words)
        assert failing.fired
        refused(result, 6, ["ENOSPC", "free space"])
        result = metaccord(*words)
        assert result.code == 0, (at, failing.fired, result.err)
        assert equal_runs(place / "a" / "run", finished)
        shutil.rmtree(place / "a")


def test_a_busy_run_is_refused(metaccord: Run, finished: Path, place: Path) -> None:
    from metaccord.rundir import RunDirectory

    run = copied(finished, place / "run")
    with RunDirectory.open(run):
        refused(metaccord(RESUME), 2, ["is in use by process", "wait for it"])
    assert records(run) == records(finished)
    assert last(run).step == 4
