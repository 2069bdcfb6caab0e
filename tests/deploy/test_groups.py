"""A model that is adapted to one group of a table knows nothing of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

import metaccord as mc
from metaccord.defaults import default
from metaccord.learner import Origin
from tests.tasks.own.made import HEADER, sensor_rows, sensors


def test_rows_of_another_group_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not those of its own, and not where there is no group; also after a stay on the disk."""
    tasks = mc.tasks.from_table(
        sensors(tmp_path / "s.csv"), target="reading", group="sensor", shots=5
    )
    experiment = default(tasks)
    objective = experiment.objective()
    state = mc.initialise(experiment.method, objective, seed=0)
    learner = mc.Learner(experiment.method, objective, state, Origin(experiment, "0" * 64))
    lines = sensor_rows()
    own = [line for line in lines if line.startswith("s3,")]
    (tmp_path / "own.csv").write_text("\n".join([HEADER, *own]) + "\n")
    bare = [line.partition(",")[2] for line in [HEADER, *own]]
    (tmp_path / "bare.csv").write_text("\n".join(bare) + "\n")
    made = learner.predictor(tmp_path / "own.csv")
    made.save(tmp_path / "model")
    again = mc.deploy.load(tmp_path / "model")
    assert again.card.support["group"] == "s3"
    assert "folder" not in again.card.trained["tasks"]
    unnamed = learner.predictor(tmp_path / "bare.csv")
    assert "group" not in unnamed.card.support
    for model, name in ((again, "own"), (again, "bare"), (unnamed, "s")):
        model.predict(tmp_path / f"{name}.csv")
    assert "adapted to the group" not in caplog.text
    again.predict(tmp_path / "s.csv")
    assert "group 's3', and the inputs have rows of 's0', 's1', 's10' and 8 more" in caplog.text
