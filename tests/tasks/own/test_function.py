"""Tasks that a function draws: a pure function of their address, checked before they are used."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.tasks import Draw


def line(draw: Draw):
    slope, x = draw.normal(), draw.uniform(draw.shots + 2 + int(draw.integers(5)), low=-2, high=2)
    y = slope * x
    return (x[: draw.shots], y[: draw.shots]), (x[draw.shots :], y[draw.shots :])


def steeper(draw: Draw):
    (x, y), query = line(draw)
    return (x, 2 * y), query


def corners(draw: Draw):
    labels = draw.permutation(3)
    return (np.eye(3)[labels], labels), (torch.eye(3), torch.arange(3))


def test_a_task_depends_on_its_address_alone() -> None:
    tasks = mc.tasks.from_function(line, shots=4)
    whole, part = tasks.episodes("train", 5, range(6)), tasks.episodes("train", 5, range(4, 6))
    assert whole.support.inputs.shape == (6, 4, 1)
    assert torch.equal(whole.support.inputs[4:], part.support.inputs)
    assert set(whole.query.sizes.tolist()) <= set(range(2, 7))
    for other in (("train", 6), ("test", 5)):
        found = tasks.episodes(*other, range(6))
        assert not torch.equal(found.support.inputs, whole.support.inputs)
    again = mc.tasks.from_function(line, shots=4, seed=1).episodes("train", 5, range(6))
    assert not torch.equal(again.support.inputs, whole.support.inputs)


def test_numbers_are_what_they_say() -> None:
    draw = Draw((0, "train", 0, 0), 3, 4)
    assert draw.uniform(2, 3, low=1, high=2).shape == (2, 3)
    normal = draw.normal(20_000)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert abs((normal**4).mean() - 3) < 0.2
    assert sorted(draw.permutation(9)) == list(range(9))
    assert set(draw.integers(3, 200)) == {0, 1, 2}
    one, other = Draw((0, "train", 0, 0), 3, 4), Draw((0, "train", 0, 0), 3, 4)
    assert np.array_equal(one.uniform(600), np.append(other.uniform(100), other.uniform(500)))
    assert (one.split, one.shots, one.queries) == ("train", 3, 4)


def test_numbers_and_classes_are_learnt() -> None:
    for function, options in ((line, {"shots": 4}), (corners, {"classes": 3})):
        tasks = mc.tasks.from_function(function, **options)
        experiment = default(tasks)
        records = mc.train(experiment.method, experiment.objective(), tasks, steps=2, num_tasks=3)
        assert [record.step for record in records] == [1, 2]
        scores = mc.evaluate(
            experiment.method, experiment.objective(),
            mc.initialise(experiment.method, experiment.objective()), tasks, mc.Protocol(tasks=3),
        )  # fmt: skip
        assert (scores.accuracies is None) == (function is line)


STATE = [0]


def impure(draw: Draw):
    STATE[0] += 1
    return ([[1.0]], [STATE[0]]), ([[1.0]], [0.0])


BAD = {
    "random": (lambda draw: (([random.random()], [0.0]), ([0.0], [0.0])), r"gives another task"),
    "state": (impure, r"gives another task .* take all randomness from its argument"),
    "nothing": (lambda draw: None, r"gives NoneType: return \(support, query\)"),
    "three": (lambda draw: (1, 2, 3), r"gives tuple: return"),
    "no pair": (lambda draw: ([1.0], ([1.0], [1.0])), r"support is list: return a pair"),
    "lengths": (lambda draw: (([1.0], [1.0, 2.0]), ([1.0], [1.0])), r"\[1, 2\] examples"),
    "none": (lambda draw: (([], []), ([1.0], [1.0])), r"\[0\] examples"),
    "nan": (lambda draw: (([1.0], [np.nan]), ([1.0], [1.0])), r"not finite"),
    "words": (lambda draw: ((["a"], [1.0]), ([1.0], [1.0])), r"is no array of numbers"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_task_is_refused(fault: str) -> None:
    function, message = BAD[fault]
    with pytest.raises(DataError, match=message):
        mc.tasks.from_function(function)


def test_labels_lie_below_the_number_of_classes() -> None:
    with pytest.raises(DataError, match=r"labels must be whole numbers in 0 \.\. 1"):
        mc.tasks.from_function(corners, classes=2)
    with pytest.raises(DataError, match=r"targets are labels, \[n\]"):
        mc.tasks.from_function(lambda d: (([1.0], [[1]]), ([1.0], [[1]])), classes=2)
    for bad in (1, -1):
        with pytest.raises(UsageError, match=r"use 0 for numbers, or at least 2"):
            mc.tasks.from_function(corners, classes=bad)
    with pytest.raises(UsageError, match=r"takes a function, not int"):
        mc.tasks.from_function(3)


def test_a_run_goes_on_with_the_same_function_alone(tmp_path: Path) -> None:
    def experiment(function, *settings: str) -> mc.Experiment:
        tasks = mc.tasks.from_function(function, shots=4)
        return default(tasks).changed(["num_tasks=2", "plan.chunk=all", *settings])

    list(mc.run(experiment(line, "steps=1"), tmp_path / "run"))
    more = mc.run(experiment(line, "steps=2"), tmp_path / "run", resume=True)
    assert [r.step for r in more] == [2]
    with pytest.raises(CheckpointError, match=r"other settings|other data"):
        list(mc.run(experiment(steeper, "steps=3"), tmp_path / "run", resume=True))
    stored, _, _ = mc.stored.load_state(tmp_path / "run")
    with pytest.raises(DataError, match=r"the function line that draws .* was given in Python"):
        stored.tasks.episodes("test", 0, range(1))
    assert mc.load(tmp_path / "run").method == stored.method
