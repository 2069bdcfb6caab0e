"""``metaccord evaluate``: the numbers of the library, printed with their protocol and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord import stored
from tests.cli.support import Result, copied, scores_of, snapshot

Run = Callable[..., Result]


@pytest.fixture
def run(finished: Path, place: Path) -> Path:
    return copied(finished, place / "run")


def test_the_numbers_are_the_librarys(metaccord: Run, run: Path) -> None:
    experiment, state, _ = stored.load_state(run)
    protocol = mc.Protocol(tasks=7)
    scores = mc.evaluate(
        experiment.method, experiment.objective(), state, experiment.tasks, protocol
    )
    result = metaccord("evaluate run --tasks 7")
    assert (result.code, result.err) == (0, "")
    first, *table = result.out.splitlines()
    assert first == f"run at step 4: {scores}"
    assert "after each inner step, 95 % intervals over tasks" in result.out
    for row in scores.rows:
        assert any(line.split() == [str(row.steps), *str(row.loss).split()] for line in table)
    assert table[-1].startswith("errors in the units of the targets: RMSE ")
    assert mc.EpisodeSet.of(experiment.tasks, protocol).digest[:12] in first
    assert "transductive, 7 test tasks, 1 steps, seed 0" in result.out
    found = scores_of(metaccord("evaluate run --tasks 7 --json").out)
    assert found == json.loads(json.dumps(scores.json()))
    kept = json.loads((run / "scores" / "test-transductive-1-steps-7-tasks.json").read_text())
    assert kept.items() >= {"step": 4, **found}.items()
    again = mc.Scores.read(run / "scores" / "test-transductive-1-steps-7-tasks.json")
    assert torch.equal(again.losses, scores.losses)


def test_the_protocol_is_followed(metaccord: Run, run: Path) -> None:
    command = "evaluate run --json --tasks 5 --steps 3 --protocol frozen --split validation"
    found = scores_of(metaccord(command).out)
    assert found["protocol"] == vars(
        mc.Protocol(statistics="frozen", tasks=5, steps=3, split="validation")
    )
    assert found["at"] == [0, 1, 2, 3]
    assert len(found["losses"]) == 4
    assert found["losses"][-1] == pytest.approx(found["loss"]["mean"])
    assert (run / "scores" / "validation-frozen-3-steps-5-tasks.json").is_file()
    other = scores_of(metaccord("evaluate run --json --tasks 5 --steps 3").out)
    assert other["losses"] != found["losses"], "test tasks are other tasks"


def test_looking_changes_nothing_but_scores(metaccord: Run, run: Path, finished: Path) -> None:
    assert metaccord("evaluate run --tasks 2").code == 0
    left = {k: v for k, v in snapshot(run).items() if not k.startswith("scores")}
    assert left == snapshot(finished)


def test_a_run_of_a_gpu_is_measured_without_one(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    """The configuration says cuda; this machine has none."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    read = stored.stored
    monkeypatch.setattr(stored, "stored", lambda folder: replace(read(folder), device="cuda"))
    assert metaccord("evaluate run --tasks 2").code == 0
    assert mc.load(run).state.step == 4
