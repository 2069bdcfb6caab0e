"""The run folder: configuration, records, lock, and the folders it refuses."""

from __future__ import annotations

import logging
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError, ResourceError, UsageError
from metaccord.rundir import RunDirectory, compare_config
from metaccord.rundir_files import FAILURE, RUN, read_failure

CONFIG: dict[str, Any] = {"method": {"rule": {"lr": 0.1, "steps": 5}}, "tasks": ["sinusoid"]}


def _run(path: Path, steps: int) -> RunDirectory:
    run = RunDirectory.create(path, CONFIG)
    for step in range(steps):
        run.append({"step": step, "loss": 1 / (step + 1)})
    return run


def test_create_open_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run with space"
    with _run(path, 3) as run:
        run.sync()
        assert run.checkpoints == path / "checkpoints"
        assert run.checkpoints.is_dir()
    with RunDirectory.open(path) as run:
        assert run.config == CONFIG
        run.config["method"] = None
        assert run.config == CONFIG
        run.append({"step": 3})
    assert [record["step"] for record in RunDirectory.read(path).records()] == [0, 1, 2, 3]


def test_readers_need_no_lock_and_cannot_write(tmp_path: Path) -> None:
    with _run(tmp_path, 1):
        reader = RunDirectory.read(tmp_path)
        assert len(reader.records()) == 1
        with pytest.raises(UsageError, match="needs the lock"):
            reader.append({"step": 1})
        with pytest.raises(UsageError, match="needs the lock"):
            reader.cut(0)
        with pytest.raises(UsageError, match="needs the lock"):
            reader.sync()
        reader.close()  # there is no lock to give back


def test_closed_runs_cannot_write(tmp_path: Path) -> None:
    with _run(tmp_path, 1) as run:
        pass
    run.close()
    with pytest.raises(UsageError, match="needs the lock"):
        run.append({"step": 1})


def test_a_configuration_is_an_object(tmp_path: Path) -> None:
    """A list under a right hash was not written by us."""
    (tmp_path / RUN).write_bytes(jsontree.seal([CONFIG], "config"))
    with pytest.raises(CheckpointError, match="no JSON object"):
        RunDirectory.read(tmp_path)


def test_numbers_survive(tmp_path: Path) -> None:
    numbers = [0.1, -0.0, 5e-324, 1e308, 2**70, math.inf, -math.inf, math.nan, True, None, "nan"]
    with RunDirectory.create(tmp_path, {"limit": math.inf}) as run:
        run.append({"step": 0, "numbers": numbers})
        found = run.records()[0]["numbers"]
    assert repr(found) == repr(numbers)
    assert RunDirectory.read(tmp_path).config == {"limit": math.inf}


@pytest.mark.parametrize(
    "record", [{}, {"step": 1.0}, {"step": True}, {"step": 1, "x": {1}}, {"step": 1, 2: 3}]
)
def test_records_that_cannot_be_kept_are_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    with _run(tmp_path, 1) as run:
        with pytest.raises(UsageError):
            run.append(record)
        assert len(run.records()) == 1


@pytest.mark.parametrize("tail", [b'{"step": 9', b"\0" * 50, b"{", b'{"step": 9}', b"\xff\n"])
def test_torn_last_line(tmp_path: Path, tail: bytes, caplog: pytest.LogCaptureFixture) -> None:
    _run(tmp_path, 3).close()
    log = tmp_path / "records.jsonl"
    good = log.read_bytes()
    log.write_bytes(good + tail)
    with caplog.at_level(logging.WARNING):
        assert len(RunDirectory.read(tmp_path).records()) == 3
    assert "line 4" in caplog.text
    assert log.read_bytes() == good + tail
    with RunDirectory.open(tmp_path) as run:
        assert log.read_bytes() == good
        run.append({"step": 3})
        assert [record["step"] for record in run.records()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "bad", [b"\0\0\0\n", b"\n", b"[1]\n", b'{"loss": 1}\n', b'{"step": NaN}\n']
)
def test_damage_in_the_middle(tmp_path: Path, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    _run(tmp_path, 4).close()
    log = tmp_path / "records.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], bad, *lines[3:]]))
    with RunDirectory.open(tmp_path) as run:
        with pytest.raises(CheckpointError, match=r"records.jsonl', line 3"):
            run.records()
        with pytest.raises(CheckpointError, match=r"records.jsonl', line 3"):
            run.cut(2)
        run.cut(1)  # Whatever lies behind the last sync may be lost.
        assert "line 3" in caplog.text
        assert [record["step"] for record in run.records()] == [0, 1]
        run.append({"step": 2})
        assert [record["step"] for record in run.records()] == [0, 1, 2]


def test_a_torn_line_behind_damage_is_all_that_opening_cuts_off(tmp_path: Path) -> None:
    """What stands between them may still be mended by hand."""
    _run(tmp_path, 4).close()
    log = tmp_path / "records.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    whole = b"".join([lines[0], b"damaged\n", *lines[2:]])
    log.write_bytes(whole + b'{"step": 4, "lo')
    RunDirectory.open(tmp_path).close()
    assert log.read_bytes() == whole


def test_the_last_failure_is_kept(tmp_path: Path) -> None:
    with _run(tmp_path, 1) as run:
        assert read_failure(tmp_path) is None
        for step in (3, 7):
            run.write_failure({"step": step, "loss": math.inf})
            assert read_failure(tmp_path) == {"step": step, "loss": math.inf}
    content = (tmp_path / FAILURE).read_bytes()
    for bad in (b"", content[:-1], content.replace(b"7", b"8")):
        (tmp_path / FAILURE).write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"is damaged .*name the step with --step"):
            read_failure(tmp_path)


def test_what_cannot_be_created_is_told_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise ResourceError(f"cannot write {path}")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "write_atomic", full)
        with pytest.raises(ResourceError, match="cannot write"):
            RunDirectory.create(tmp_path, CONFIG)
    RunDirectory.create(tmp_path, CONFIG).close()


def test_cut_keeps_what_belongs_to_the_checkpoint(tmp_path: Path) -> None:
    with _run(tmp_path, 5) as run:
        run.append({"step": 2, "late": True})
        run.cut(9)
        assert len(run.records()) == 6
        run.cut(2)
        assert [record["step"] for record in run.records()] == [0, 1, 2, 2]
        run.cut(-1)
        assert run.records() == []


def test_missing_records_are_named(tmp_path: Path) -> None:
    _run(tmp_path, 1).close()
    (tmp_path / "records.jsonl").unlink()
    for _ in range(2):  # The second time would be refused if the lock had stayed.
        with pytest.raises(CheckpointError, match=r"records\.jsonl"):
            RunDirectory.open(tmp_path)


def test_damaged_configuration(tmp_path: Path) -> None:
    _run(tmp_path, 1).close()
    good = (tmp_path / "run.json").read_bytes()
    draw = random.Random(0)
    flips = []
    for _ in range(200):
        flipped = bytearray(good)
        flipped[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        flips.append(bytes(flipped))
    for bad in [*flips, b"", b"{}", b"[" * 100_000, good[:-1], good + b" ", b"\xff"]:
        (tmp_path / "run.json").write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"run\.json"):
            RunDirectory.open(tmp_path)
        with pytest.raises(CheckpointError, match=r"run\.json"):
            RunDirectory.read(tmp_path)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    _run(tmp_path, 1).close()
    with pytest.raises(UsageError, match="--resume"):
        RunDirectory.create(tmp_path, CONFIG)
    assert len(RunDirectory.read(tmp_path).records()) == 1


@pytest.mark.parametrize("name", ["thesis.txt", "checkpoints/step-000001/x", "records.jsonl"])
def test_foreign_folders_are_refused_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("precious")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match="another --out"):
        RunDirectory.create(tmp_path, CONFIG)
    with pytest.raises(UsageError, match="holds no run"):
        RunDirectory.open(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / name).read_text() == "precious"


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be a folder"):
            RunDirectory.create(path, CONFIG)
    for verb in (RunDirectory.open, RunDirectory.read):
        with pytest.raises(UsageError, match="holds no run"):
            verb(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"config\.model"):
        RunDirectory.create(tmp_path / "new", {"model": object()})
    assert os.listdir(tmp_path) == ["file"]


def test_compare_config() -> None:
    old = {"a": {"b": 1, "c": (1, 2)}, "n": math.nan, "e": {}, "t": True, "gone": "x"}
    assert compare_config(old, old) == []
    assert compare_config(old, {**old, "a": {"b": 1.0, "c": [1, 2]}}) == []
    new = {"a": {"b": 2, "c": [1, 3]}, "n": math.nan, "e": {}, "t": 1, "new": None}
    assert compare_config(old, new) == [
        "a.b: 1 in the run, 2 now",
        "a.c[1]: 2 in the run, 3 now",
        "t: True in the run, 1 now",
        "gone: 'x' in the run, absent now",
        "new: absent in the run, None now",
    ]
