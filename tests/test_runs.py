"""A training with files, as a library uses it: a loop over records that leaves a run behind."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord import checkpoint, stored
from metaccord.errors import CheckpointError, UsageError
from metaccord.rundir import RunDirectory
from metaccord.runs import run
from tests import cases
from tests.cli.support import equal_runs, last, records, tiny, train


def test_a_record_is_written_before_it_is_yielded(tmp_path: Path) -> None:
    for record in run(tiny("steps=3"), tmp_path / "run"):
        found = RunDirectory.read(tmp_path / "run").records()
        assert len(found) == record.step
        assert found[-1] == record.json()


def test_the_records_are_those_of_train(tmp_path: Path) -> None:
    experiment = tiny("steps=3", "seed=4")
    train(tmp_path / "run", "steps=3", "seed=4")
    plain = mc.train(
        experiment.method,
        experiment.objective(),
        replace(experiment.tasks, seed=4),
        steps=3,
        num_tasks=2,
        outer=experiment.outer,
        seed=4,
    )
    numbers = [{"step": record.step, **record.numbers} for record in plain]
    assert records(tmp_path / "run") == numbers


def test_nothing_happens_before_the_first_record_is_asked_for(tmp_path: Path) -> None:
    loop = run(tiny("steps=3"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    loop.close()
    assert not (tmp_path / "run").exists()


def test_leaving_the_loop_gives_the_lock_back(tmp_path: Path) -> None:
    """What came after the last checkpoint is trained again, to the bit."""
    train(tmp_path / "whole", "steps=5", "checkpoint_every=2")
    for record in run(tiny("steps=5", "checkpoint_every=2"), tmp_path / "run"):
        if record.step == 3:
            break
    del record
    assert stored.done(tmp_path / "run") == 2
    for _ in run(tiny("steps=5", "checkpoint_every=2"), tmp_path / "run", resume=True):
        pass
    assert equal_runs(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without doubled records, and whatever a killed process left half-written."""
    train(tmp_path / "whole", "steps=4")
    loop = run(tiny("steps=4"), tmp_path / "run")
    next(loop)
    next(loop)
    loop.close()
    (tmp_path / "run" / "checkpoints" / ".staging-step-000004-1").mkdir()
    assert stored.done(tmp_path / "run") == 0
    with caplog.at_level(logging.WARNING, "metaccord"):
        steps = [record.step for record in run(tiny("steps=4"), tmp_path / "run", resume=True)]
    assert steps == [1, 2, 3, 4]
    assert "ended before its first checkpoint: it starts again" in caplog.text
    assert equal_runs(tmp_path / "run", tmp_path / "whole")


def test_an_error_of_the_caller_keeps_the_run(tmp_path: Path) -> None:
    loop = run(tiny("steps=4", "checkpoint_every=1"), tmp_path / "run")
    next(loop)
    with pytest.raises(ZeroDivisionError):
        loop.throw(ZeroDivisionError())
    assert stored.done(tmp_path / "run") == 1


def test_other_settings_are_refused_before_anything_changes(tmp_path: Path) -> None:
    train(tmp_path / "run", "steps=2")
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    for other, words in (
        (tiny("steps=3", "rule.lr=0.5"), "lr: 0.01 in the run, 0.5 now"),
        (tiny("steps=3", base="fomaml"), "fomaml"),
        (tiny("steps=3", extra=("agreement",)), "GradientAgreement"),
        (tiny("steps=3", "tasks.phase=1"), "phase"),
        (tiny("steps=3", "model.hidden=[5]"), "hidden"),
    ):
        with pytest.raises(CheckpointError, match="cannot go on with other settings") as caught:
            next(run(other, tmp_path / "run", resume=True))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    assert next(run(tiny("steps=3", "checkpoint_every=7"), tmp_path / "run", resume=True)).step == 3


def test_checkpoints_are_rotated_and_the_best_is_kept(tmp_path: Path) -> None:
    options = ("validate_every=1", "validation_tasks=2", "checkpoint_every=1")
    train(tmp_path / "run", "steps=7", "outer.lr=0.5", *options)
    losses = {r["step"]: r["validation"]["loss"]["mean"] for r in records(tmp_path / "run")}
    best = min(losses, key=lambda step: losses[step])
    assert last(tmp_path / "run").state["best"] == {"step": best, "loss": losses[best]}
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step:06d}" for step in sorted({best, 6, 7})]
    _, state, _ = stored.load_state(tmp_path / "run", best)
    assert state.step == best


def test_validation_changes_nothing_else(tmp_path: Path) -> None:
    train(tmp_path / "with", "steps=4", "validate_every=1", "validation_tasks=3")
    train(tmp_path / "without", "steps=4")
    a, b = last(tmp_path / "with"), last(tmp_path / "without")
    assert cases.same_bits(a.tensors, b.tensors)
    found = records(tmp_path / "with")
    measured = [record.pop("validation") for record in found]
    assert found == records(tmp_path / "without")
    assert [one["protocol"]["split"] for one in measured] == ["validation"] * 4
    assert [one["protocol"]["tasks"] for one in measured] == [3] * 4


def test_load_state_gives_what_was_saved(tmp_path: Path) -> None:
    *_, record = run(tiny("steps=3", base="reptile", extra=("agreement",)), tmp_path / "run")
    experiment, state, slots = stored.load_state(tmp_path / "run")
    assert experiment == tiny("steps=3", base="reptile", extra=("agreement",)).settled()
    assert state.step == 3
    assert cases.same_bits(state[:2], record.state[:2])
    assert cases.same_bits(slots, record.slots)
    with pytest.raises(CheckpointError, match="no checkpoint of step 2"):
        stored.load_state(tmp_path / "run", 2)


def test_saved_weights_are_no_run(tmp_path: Path) -> None:
    method, objective = mc.methods.maml(), tiny().objective()
    mc.save(tmp_path / "weights", method, objective, mc.initialise(method, objective))
    with pytest.raises(CheckpointError, match=r"without an experiment: use metaccord\.load"):
        stored.load_state(tmp_path / "weights")
    with pytest.raises(UsageError, match="already holds a run"):
        next(run(tiny(), tmp_path / "weights"))


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        stored.done(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no run"):
        next(run(tiny(), tmp_path / "nowhere", resume=True))
    assert list(tmp_path.iterdir()) == []


def test_an_error_before_the_first_record_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    experiment = tiny("rule.lr=1e30", "rule.steps=3")
    for name in ("new", "empty"):
        with pytest.raises(mc.errors.NumericalError):
            next(run(experiment, tmp_path / name))
        assert not (tmp_path / name).exists()


def test_the_fingerprint_knows_names_shapes_and_types() -> None:
    plain = stored.fingerprint(cases.objective("plain"))
    assert plain == stored.fingerprint(cases.objective("plain"))
    others = [cases.objective("tied"), cases.objective("frozen"),
              cases.objective("plain", dtype=torch.float32)]  # fmt: skip
    assert len({plain, *map(stored.fingerprint, others)}) == 4


def test_everything_on_the_disk_is_plain_text_or_safetensors(tmp_path: Path) -> None:
    train(tmp_path / "run", "steps=2")
    for path in (path for path in (tmp_path / "run").rglob("*") if path.is_file()):
        if path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        elif path.suffix == ".json":
            assert json.loads(path.read_text())
        else:
            assert path.suffix == ".safetensors" or path.name == ".lock"
    checkpoint.verify(tmp_path / "run" / "checkpoints" / "step-000002")
