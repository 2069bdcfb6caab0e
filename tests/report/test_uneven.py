"""A report on tasks of different sizes: what it shows of a task ends where the task ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import metaccord as mc
from tests.cli.support import call
from tests.tasks.own.made import sensors

SETTINGS = (
    "--set", "tasks.target=reading", "tasks.group=sensor", "tasks.shots=5", "tasks.queries=30",
    "num_tasks=2", "model.hidden=[8]", "plan.chunk=all", "validate_every=1", "validation_tasks=4",
)  # fmt: skip


def test_a_table_of_uneven_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report and pictures of a run that was validated; losses are those of each task alone."""
    monkeypatch.chdir(tmp_path)
    sensors(tmp_path / "s.csv", sensors=16)
    words = ("train", "table:s.csv", "--steps", "2", "--out", "run", *SETTINGS)
    assert call(capsys, *words).code == 0
    result = call(capsys, "report", "run", "--tasks", "6")
    assert result.code == 0, result.err
    experiment, state, _ = mc.stored.load_state(tmp_path / "run")
    episodes = experiment.tasks.episodes("test", 0, range(3))
    sizes = torch.as_tensor(episodes.query.sizes).tolist()
    assert len(set(sizes)) > 1
    found = json.loads(Path("run/report/examples.json").read_text())["content"]["found"]
    assert [len(task["truth"]) for task in found["tasks"]] == sizes
    assert [task["shots"] for task in found["tasks"]] == [5, 5, 5]
    coding, objective = experiment.tasks.coding, experiment.objective()
    for number, (task, size) in enumerate(zip(found["tasks"], sizes, strict=True)):
        true = coding.values(episodes.query.targets[number, :size]).flatten()
        assert task["truth"] == pytest.approx(true.tolist(), rel=1e-3)
        alone = mc.Episode(
            mc.Batch(*(leaf[number : number + 1] for leaf in episodes.support[:2])),
            mc.Batch(*(leaf[number : number + 1, :size] for leaf in episodes.query[:2])),
        )
        params = {k.removeprefix("model."): v for k, v in state.params.items()}
        outputs = objective.predict(params, alone.query.inputs[0])
        loss = mc.losses.mse(outputs, alone.query.targets[0])
        assert task["losses"][0] == pytest.approx(float(loss), rel=1e-4)
    drawn = call(capsys, "plot", "run")
    assert drawn.code == 0, drawn.err
    assert Path("run/plots/training.png").exists()
