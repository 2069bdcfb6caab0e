"""The same records in TensorBoard, MLflow and W&B; a tracker never disturbs a training."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.rundir import RunDirectory
from metaccord.trackers import Tracker, followed, opened, scalars
from metaccord.trackers.opening import checked
from tests.cli.support import equal_runs, tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection but to this machine fails, so that nothing is asked for in silence."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a connection to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


class Noted(Tracker):
    name = "noted"

    def __init__(self, last: int = 0, fails_at: int | None = None) -> None:
        super().__init__(last)
        self.seen: dict[int, Mapping[str, float]] = {}
        self.fails_at, self.ended = fails_at, 0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise OSError("planted")
        assert step not in self.seen
        self.seen[step] = values

    def end(self) -> None:
        self.ended += 1


def test_scalars_of_a_record() -> None:
    record = {
        "step": 3,
        "seconds": 0.5,
        "agreement.weights": [0.0, 1.0, float("nan")],
        "warning": "text",
        "query_loss": float("inf"),
        "validation": {"protocol": {"tasks": 4}, "at": [0, 1], "loss": {"mean": 2.0, "half": 1}},
    }
    assert scalars(record) == {
        "seconds": 0.5,
        "agreement.weights/mean": 0.5,
        "agreement.weights/min": 0.0,
        "agreement.weights/max": 1.0,
        "validation/loss/mean": 2.0,
        "validation/loss/half": 1.0,
    }


def test_in_python_it_is_a_call_in_the_loop() -> None:
    made = tiny("steps=3")
    tracker = Noted()
    for record in mc.train(made.method, made.objective(), made.tasks, steps=3, num_tasks=2):
        tracker.log(record)
    tracker.close()
    tracker.close()
    assert list(tracker.seen) == [1, 2, 3]
    assert tracker.ended == 1
    assert tracker.seen[3]["query_loss"] == record.numbers["query_loss"]


def test_a_tracker_that_fails_is_told_of_once_and_changes_nothing(tmp_path, caplog) -> None:
    experiment = tiny("steps=5")
    list(mc.run(experiment, tmp_path / "alone"))
    bad, good = Noted(fails_at=2), Noted()
    for record in mc.run(experiment, tmp_path / "tracked"):
        bad.log(record)
        good.log(record)
    bad.close()
    assert list(bad.seen) == [1]
    assert bad.ended == 0
    assert list(good.seen) == [1, 2, 3, 4, 5]
    assert [r.message for r in caplog.records].count(
        "noted gets no more records (OSError: planted); the training goes on"
    ) == 1
    assert equal_runs(tmp_path / "alone", tmp_path / "tracked")


def tensorboard(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "trackers" / "tensorboard"))
    found.Reload()
    curves = {tag: found.Scalars(tag) for tag in found.Tags()["scalars"]}
    assert all(len({e.step for e in es}) == len(es) for es in curves.values()), "a step twice"
    return {tag: {e.step: e.value for e in es} for tag, es in curves.items()}


def mlflow(folder: Path) -> dict[str, dict[int, float]]:
    from mlflow.tracking import MlflowClient

    place = folder / "trackers" / "mlflow"
    client = MlflowClient((place / "store").resolve().as_uri())
    (only,) = client.search_runs([client.get_experiment_by_name("metaccord").experiment_id])
    assert only.info.run_id == (place / "run.id").read_text()
    assert only.data.params["method.rule.lr"] == "0.01"
    found = {}
    for name in only.data.metrics:
        history = client.get_metric_history(only.info.run_id, name)
        assert len({m.step for m in history}) == len(history), "a step twice"
        found[name] = {m.step: m.value for m in history}
    return found


READERS = {"tensorboard": tensorboard, "mlflow": mlflow}


def train(folder: Path, steps: int, name: str, *, resume: bool = False, stop: int = 0) -> None:
    """Train with a tracker; ``stop`` breaks off in the loop, as a lost process would."""
    settings = ("checkpoint_every=2", "validate_every=2", "validation_tasks=3")
    experiment = tiny(f"steps={steps}", *settings, extra=("agreement",))
    records = mc.run(experiment, folder, resume=resume)
    for record in followed(records, [name], folder, experiment.tree()):
        if record.step == stop:
            break


@pytest.mark.parametrize("name", READERS)
def test_trackers_hold_the_records_and_no_step_twice(name, tmp_path) -> None:
    """Broken off after step 3, the run goes on from its checkpoint at 2: step 3 is met again."""
    folder = tmp_path / "run"
    train(folder, 4, name, stop=3)
    train(folder, 6, name, resume=True)
    found = READERS[name](folder)
    kept = {r["step"]: scalars(r) for r in RunDirectory.read(folder).records()}
    assert set(kept) == set(range(1, 7))
    for tag in ("query_loss", "grad_norm", "agreement.weights/min", "validation/loss/mean"):
        expected = {step: values[tag] for step, values in kept.items() if tag in values}
        assert found[tag].keys() == expected.keys()
        for step, value in expected.items():
            assert found[tag][step] == pytest.approx(value, rel=1e-6)  # event files are float32


WANDB = """
import sys
from pathlib import Path
from tests.trackers.test_trackers import train
folder = Path(sys.argv[1])
train(folder, 4, "wandb", stop=3)
train(folder, 6, "wandb", resume=True)
"""


@pytest.mark.long
def test_wandb_offline(tmp_path) -> None:
    """In a process of its own: W&B starts another one."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-c", WANDB, str(tmp_path / "run")],
        capture_output=True, text=True, timeout=300, env=env, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place = tmp_path / "run" / "trackers" / "wandb"
    assert (place / "steps").read_text().split() == ["1", "2", "3", "4", "5", "6"], done.stderr
    files = sorted(place.rglob("*.wandb"))
    assert len(files) == 2, done.stderr
    assert all(f"{(place / 'run.id').read_text()}.wandb" in file.name for file in files)
    assert sum(file.read_bytes().count(b"query_loss") for file in files) >= 6


def test_names_and_extras(monkeypatch) -> None:
    assert checked(None) == []
    assert checked("mlflow,tensorboard,mlflow") == ["mlflow", "tensorboard"]
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        checked("tensorbord")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[wandb\]'"):
        checked("wandb")


def test_one_that_cannot_be_opened_is_left_out(tmp_path, caplog) -> None:
    (tmp_path / "trackers").write_text("in the way")
    assert opened(["tensorboard"], tmp_path, {}) == []
    assert "tensorboard gets no records" in caplog.text


def test_on_the_command_line(tmp_path) -> None:
    from metaccord.cli.main import main

    words = ["train", "sinusoid", "--steps", "2", "--out", str(tmp_path / "run")]
    small = ["--set", "plan.chunk=all", "model.hidden=[4]", "num_tasks=2"]
    assert main([*words, "--track", "tensorboard", *small]) == 0
    assert set(tensorboard(tmp_path / "run")["query_loss"]) == {1, 2}
