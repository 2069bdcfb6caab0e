"""Scores: what is measured beside loss and accuracy, kept in a file and read again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.errors import DataError
from metaccord.evaluate import isolated, predict
from metaccord.statistics import over_tasks
from tests import cases

METHOD = mc.methods.maml(steps=2, lr=0.1)


def classified(tasks: int = 6) -> mc.Scores:
    goal = cases.objective("batchnorm2d", mc.Plan(chunk=2), torch.float32)
    state, protocol = mc.initialise(METHOD, goal), mc.Protocol(tasks=tasks)
    return mc.evaluate(METHOD, goal, state, cases.Blobs(), protocol, at=(0, 1, 2))


def regressed(tasks: int = 6) -> mc.Scores:
    goal = mc.Objective(mc.models.MLP(), mc.losses.mse, mc.Plan(chunk=3))
    state = mc.initialise(METHOD, goal, seed=1)
    return mc.evaluate(METHOD, goal, state, mc.tasks.Sinusoid(), mc.Protocol(tasks=tasks))


def test_calibration_is_over_all_queries_of_all_tasks() -> None:
    goal = cases.objective("batchnorm2d", mc.Plan(chunk=2), torch.float32)
    state = mc.initialise(METHOD, goal)
    scores = classified()
    episodes = cases.Blobs(seed=0).episodes("test", 0, range(6))
    run = isolated(METHOD, goal, state, episodes)
    for column, point in enumerate((0, 1, 2)):
        answers, truth = [], []
        for task in range(6):
            params = {k: v[task] for k, v in {**run.solution, **run.path[point]}.items()}
            support = mc.Batch(episodes.support.inputs[task], episodes.support.targets[task])
            inputs = episodes.query.inputs[task]
            answers.append(predict(goal, "transductive", params, support, inputs).detach())
            truth.append(episodes.query.targets[task])
        expected = mc.Calibration.of_logits(torch.cat(answers), torch.cat(truth))
        found = scores.calibrations[column]
        assert found.counts == expected.counts
        assert found.right == expected.right
        pair = [(one.ece, one.brier, one.nll) for one in (found, expected)]
        assert pair[0] == pytest.approx(pair[1], rel=1e-5)
    assert scores.calibration is scores.calibrations[-1]
    assert scores.calibration.examples == 6 * 9
    assert scores.calibration.accuracy == pytest.approx(scores.accuracy.mean)
    assert scores.calibration.nll == pytest.approx(scores.loss.mean, rel=1e-6), "equal queries"


def test_errors_of_a_regression_are_those_of_numpy() -> None:
    goal = mc.Objective(mc.models.MLP(), mc.losses.mse, mc.Plan(chunk=3))
    state = mc.initialise(METHOD, goal, seed=1)
    scores = regressed()
    assert scores.calibrations == ()
    found = isolated(METHOD, goal, state, mc.tasks.Sinusoid().episodes("test", 0, range(6)))
    outputs = goal.over_tasks(goal.predict)(found.solution, found.episodes.query.inputs)
    y = found.episodes.query.targets.double().numpy()
    gap = outputs.detach().double().numpy() - y
    rmse, mae = np.sqrt((gap**2).mean((1, 2))), np.abs(gap).mean((1, 2))
    r2 = 1 - (gap**2).sum((1, 2)) / ((y - y.mean(1, keepdims=True)) ** 2).sum((1, 2))
    for name, values in (("rmse", rmse), ("mae", mae), ("r2", r2)):
        assert scores.regression[name] == pytest.approx(over_tasks(values.tolist()), rel=1e-4)
    constant = scores.errors.clone()
    constant[0, :, 2] = math.nan
    again = replace(scores, errors=constant).regression["r2"]
    assert again == pytest.approx(over_tasks(r2[1:].tolist()), rel=1e-4)


def test_rows_are_the_curve_over_inner_steps() -> None:
    scores = classified()
    assert [row.steps for row in scores.rows] == [0, 1, 2]
    assert scores.rows[-1].accuracy == scores.accuracy
    assert scores.rows[-1].loss == scores.loss
    assert scores.rows[0].accuracy == over_tasks(scores.accuracies[:, 0].tolist())
    assert scores.rows[1].ece == scores.calibrations[1].ece
    found = scores.json()
    assert found["accuracies"] == [row.accuracy.mean for row in scores.rows]
    assert found["losses_half"] == [row.loss.half for row in scores.rows]
    assert json.loads(json.dumps(found)) == {
        **found,
        "episodes": {**found["episodes"], "facts": dict(scores.episodes.facts)},
    }


def test_the_protocol_stands_beside_every_number() -> None:
    scores = classified()
    digest = scores.episodes.digest[:12]
    how = f"transductive, 6 test tasks, 2 steps, seed 0; Blobs 2-shot 3-query, episodes {digest}"
    assert str(scores).endswith(f"({how})")
    assert scores.episodes == mc.EpisodeSet.of(cases.Blobs(seed=5), mc.Protocol(tasks=6))


@pytest.mark.parametrize("kind", [classified, regressed])
def test_a_file_gives_everything_back(kind: object, tmp_path: Path) -> None:
    scores = kind()
    scores.write(tmp_path / "deep" / "scores.json", step=7)
    again = mc.Scores.read(tmp_path / "deep" / "scores.json")
    for name in ("losses", "accuracies", "errors"):
        mine, theirs = getattr(scores, name), getattr(again, name)
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)
        assert mine is None or mine.dtype == theirs.dtype
    assert (again.protocol, again.at, again.episodes) == (
        scores.protocol,
        scores.at,
        scores.episodes,
    )
    assert str(again) == str(scores)
    assert json.dumps(again.json()) == json.dumps(scores.json()) or again.calibrations
    if scores.calibrations:
        assert again.calibration.counts == scores.calibration.counts
        assert again.calibration.nll == pytest.approx(scores.calibration.nll)
    assert json.loads((tmp_path / "deep" / "scores.json").read_text())["step"] == 7


def test_what_is_not_finite_is_kept(tmp_path: Path) -> None:
    scores = classified()
    scores.losses[2, 1], scores.losses[3, 2] = math.nan, math.inf
    scores.write(tmp_path / "a.json")
    assert torch.equal(
        scores.losses.nan_to_num(), mc.Scores.read(tmp_path / "a.json").losses.nan_to_num()
    )


OLD = {
    "step": 4,
    "protocol": {"statistics": "frozen", "tasks": 7, "steps": 1, "split": "test", "seed": 0,
                 "branch": "model"},
    "loss": {"mean": 0.5, "half": 0.25},
    "at": [0, 1],
    "losses": [1.5, 0.5],
    "accuracy": {"mean": 0.75, "half": 0.125},
    "accuracies": [0.25, 0.75],
}  # fmt: skip


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(OLD))
    found = mc.Scores.read(path)
    assert found.accuracy == (0.75, 0.125)
    assert found.loss == (0.5, 0.25)
    assert [row.loss.mean for row in found.rows] == [1.5, 0.5]
    assert found.protocol == mc.Protocol(statistics="frozen", tasks=7, steps=1)
    assert str(found).endswith("episodes unknown)")
    assert found.json()["accuracies"] == [0.25, 0.75]
    path.write_text(json.dumps({k: v for k, v in OLD.items() if not k.startswith("acc")}))
    assert mc.Scores.read(path).accuracy is None


DAMAGE = {
    "nothing": lambda text: "",
    "no JSON": lambda text: text[:-40],
    "a list": lambda text: "[]",
    "another": lambda text: '{"a": 1}',
    "a digit": lambda text: text.replace('"seed": 0', '"seed": 1', 1),
    "a number": lambda text: text.replace(
        first := str(json.loads(text)["per_task"]["losses"][0][0]), first + "1", 1
    ),
    "a task": lambda text: json.dumps(
        {**json.loads(text), "per_task": {"losses": [[1.0]]}, "types": {"losses": "float32"}}
    ),
    "old, no interval": lambda text: json.dumps({**OLD, "loss": {}}),
    "protocol": lambda text: json.dumps({**OLD, "protocol": {"statistics": "x"}}),
    "newer": lambda text: json.dumps({**OLD, "protocol": {"surprise": 1}}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    classified().write(path)
    text = path.read_text()
    changed = DAMAGE[case](text)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(DataError, match=r"scores\.json") as caught:
        mc.Scores.read(path)
    assert caught.value.exit_code == 3


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            mc.Scores.read(path)
