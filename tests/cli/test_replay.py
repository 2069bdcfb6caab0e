"""``metaccord replay``: the step that failed, alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metaccord as mc
from metaccord.errors import NumericalError
from metaccord.types import Episode
from tests.cli.support import Result, copied, flip, records, snapshot, tiny

Command = Callable[..., Result]
AT, TASK = 3, 1  # the meta-step and the task that fail
plain = mc.tasks.Sinusoid.episodes


def poisoned(self: mc.tasks.Sinusoid, split: str, step: int, tasks: range) -> Episode:
    """Give one number that is not finite."""
    found = plain(self, split, step, tasks)
    if split == "train" and step == AT and TASK in tasks:
        found.query.targets[tasks.index(TASK), 0] = float("inf")
    return found


def raising(self: mc.tasks.Sinusoid, split: str, step: int, tasks: range) -> Episode:
    """Fail as a user's own source of tasks may."""
    if split == "train" and step == AT:
        raise KeyError("no such pupil")
    return plain(self, split, step, tasks)


def failed(folder: Path, *settings: str, error: type[Exception] = NumericalError) -> Path:
    """Train until the failure."""
    with pytest.raises(error):
        list(mc.run(tiny("steps=6", "checkpoint_every=2", *settings), folder))
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose fourth meta-step is not finite, as it still is."""
    monkeypatch.setattr(mc.tasks.Sinusoid, "episodes", poisoned)
    return failed(place / "run")


def test_the_table_names_the_task(run: Path, metaccord: Command) -> None:
    before = snapshot(run)
    found = metaccord("replay", run)
    assert found.code == 5
    rows = [line.split() for line in found.out.splitlines() if line.strip()]
    assert ["meta-step", str(AT)] in rows
    first, second = (row for row in rows if row[0] in "01")
    assert first[0] == str(TASK), "what failed stands first"
    assert "inf" in first and "inf" not in second and "nan" not in second
    assert f"in the run: NumericalError: not finite at meta-step {AT}: " in found.out
    (error,) = found.errors
    assert f"meta-step {AT} fails as in the run: model." in error
    assert f"tasks [{TASK}]; lower rule.lr" in error
    assert "Traceback" not in found.err
    assert snapshot(run) == before, "nothing is written"


def test_json(run: Path, metaccord: Command) -> None:
    found = metaccord("replay", run, "--json")
    (line,) = found.out.splitlines()
    tree = json.loads(line)
    assert found.code == 5
    assert (tree["step"], tree["tasks"], tree["failure"]["step"]) == (AT, [TASK], AT)
    assert len(tree["losses"]) == len(tree["lengths"]) == 2
    assert tree["losses"][TASK][-1] == {"$float": "inf"}
    assert all(isinstance(loss, float) for loss in tree["losses"][0])
    assert any(name.startswith("model.") for name in tree["broken"])


def test_another_step(run: Path, metaccord: Command) -> None:
    found = metaccord("replay", run, "--step", "2")
    assert (found.code, found.errors) == (0, [])
    assert "meta-step 2: every value is finite\n" in found.out
    assert "in the run" not in found.out
    losses = json.loads(metaccord("replay", run, "--step", "2", "--json").out)["losses"]
    mean = sum(row[-1] for row in losses) / len(losses)
    assert records(run)[2]["query_loss"] == pytest.approx(mean), "as it was in the run"


def test_the_first_step(run: Path, metaccord: Command) -> None:
    found = metaccord("replay", run, "--step", "0")
    assert (found.code, found.errors) == (0, [])


def test_a_cause_that_has_gone(
    run: Path, metaccord: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mc.tasks.Sinusoid, "episodes", plain)
    found = metaccord("replay", run)
    assert (found.code, found.errors) == (0, [])
    assert f"meta-step {AT}: every value is finite this time, in one process" in found.out


def test_nothing_has_failed(finished: Path, metaccord: Command) -> None:
    found = metaccord("replay", finished)
    assert found.code == 4
    (error,) = found.errors
    assert "has no failed step: choose one with --step from [2, 4]" in error
    assert metaccord("replay", finished, "--step", "4").code == 0


@pytest.mark.parametrize("step", ["1", "-1", "99"])
def test_a_step_without_checkpoint(run: Path, metaccord: Command, step: str) -> None:
    found = metaccord("replay", run, "--step", step)
    assert found.code == 4
    assert f"there is no checkpoint of step {step}" in found.errors[0]


def test_a_damaged_note(run: Path, place: Path, metaccord: Command) -> None:
    other = copied(run, place / "other")
    flip(other / "failure.json")
    found = metaccord("replay", other)
    assert found.code == 4
    assert "failure.json" in found.errors[0]
    assert "is damaged" in found.errors[0]
    assert "name the step with --step" in found.errors[0]
    found = metaccord("replay", other, "--step", str(AT))
    assert found.code == 5, "as the message says"


def test_a_damaged_checkpoint(run: Path, metaccord: Command) -> None:
    flip(run / "checkpoints" / f"step-{AT:06d}" / "tensors.safetensors")
    found = metaccord("replay", run)
    assert found.code == 4
    assert "tensors.safetensors" in found.errors[0]


@pytest.mark.parametrize("left", [(2,), ()], ids=str)
def test_the_checkpoint_has_gone(run: Path, metaccord: Command, left: tuple[int, ...]) -> None:
    """The steps since the one before, or since the start, are computed again: the same numbers."""
    expected = metaccord("replay", run, "--json")
    for path in (run / "checkpoints").iterdir():
        if int(path.name[5:]) not in left:
            shutil.rmtree(path)
    found = metaccord("replay", run, "--json")
    assert found.code == 5
    assert f"note: there is no checkpoint of step {AT}: going on from step " in found.err
    assert json.loads(found.out) == json.loads(expected.out)


def test_weights_that_overflow(place: Path, metaccord: Command) -> None:
    """The last update is the cause: its state cannot be saved, and is computed again."""
    huge = ("outer.optimizer=sgd", "outer.lr=1e30", "tasks.amplitude=[1e9,1e10]")
    run = failed(place / "run", *huge, "rule.steps=0")
    assert list((run / "checkpoints").iterdir()) == []
    found = metaccord("replay", run)
    assert found.code == 5
    assert "note: there is no checkpoint of step 1: going on from step 0" in found.err
    assert "before the step" in found.errors[0]
    assert "fails as in the run" in found.errors[0]


def test_what_the_tasks_raise(
    place: Path, metaccord: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as in the training, with its traceback (exit code 1)."""
    monkeypatch.setattr(mc.tasks.Sinusoid, "episodes", raising)
    run = failed(place / "run", error=KeyError)
    note = json.loads((run / "failure.json").read_text())
    assert "no such pupil" in str(note)
    with pytest.raises(KeyError, match="no such pupil") as caught:
        metaccord("replay", run)
    assert any(entry.name == "raising" for entry in caught.traceback)
    monkeypatch.setattr(mc.tasks.Sinusoid, "episodes", plain)
    assert metaccord("replay", run).code == 0
    assert len(list(mc.run(tiny("steps=6", "checkpoint_every=2"), run, resume=True))) == 3


def test_what_the_tasks_raise_in_a_process_of_its_own(place: Path) -> None:
    program = place / "program.py"
    program.write_text(
        "import sys\n"
        "from tests.cli import test_replay as ours\n"
        "from metaccord.cli.main import main\n"
        "ours.mc.tasks.Sinusoid.episodes = ours.raising\n"
        f"ours.failed(ours.Path({str(place / 'run')!r}), error=KeyError)\n"
        f"sys.exit(main(['replay', {str(place / 'run')!r}]))\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, env=env)
    assert found.returncode == 1
    assert "Traceback" in found.stderr
    assert found.stderr.strip().endswith("KeyError: 'no such pupil'")


def test_no_run(place: Path, metaccord: Command) -> None:
    for path in ("missing", "."):
        found: Any = metaccord("replay", path)
        assert found.code == 2
        assert len(found.errors) == 1
