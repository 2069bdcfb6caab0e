"""The pictures of a run show it as it was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord import plots
from metaccord.defaults import default
from metaccord.plots import of_runs
from tests.small_graph import store


def test_calibration_is_drawn_after_the_trained_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More inner steps are measured for the curve over them, and only for that."""
    torch.set_num_threads(1)
    drawn, words = [], ["tasks.shots=2", "tasks.queries=3", "rule.steps=2", "num_tasks=2"]
    made = default(f"graph:{store(tmp_path)}", settings=words).changed(["steps=1", *words])
    for _ in mc.run(made, tmp_path / "run"):
        pass
    monkeypatch.setattr(of_runs, "MEASURED", 6)
    monkeypatch.setattr(of_runs, "saved", lambda figures, out: [])
    for other in ("training", "error_by_step", "cosines"):
        monkeypatch.setattr(plots, other, lambda *given: None)
    monkeypatch.setattr(plots, "reliability", lambda *one, note: drawn.append((*one, note)))
    of_runs.of_run(tmp_path / "run", tmp_path)
    learner, protocol = mc.load(tmp_path / "run"), mc.Protocol(tasks=6)
    scores = mc.evaluate(learner.method, learner.objective, learner.state, made.tasks, protocol)
    ((found, note),) = drawn
    assert note == scores.how
    assert found[made.method.label].ece == pytest.approx(scores.calibration.ece, rel=1e-4)
