"""What users give by mistake is said on one line, before anything is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.random import RandomState
from sklearn.base import clone

from metaccord.errors import DataError, MetaccordError, UsageError
from metaccord.scikit import MetaClassifier, MetaRegressor
from metaccord.tasks import Quadratics, Sinusoid, from_arrays, from_table
from tests.refusals import refusal
from tests.scikit.families import blobs, sine

DRAW = RandomState(0)
WAVES = [sine(DRAW, 8) for _ in range(3)]
X, Y = WAVES[0]
BLOBS = [blobs(DRAW, 12) for _ in range(3)]
SMALL: dict[str, Any] = {"hidden": (4,), "steps": 1, "tasks_per_step": 2, "fresh_steps": 1}

PARAMETERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown method": ({"method": "mamml"}, ["unknown method 'mamml'", "did you mean 'maml'?"]),
    "method of another type": ({"method": 3}, ["unknown method '3'"]),
    "unknown interaction": ({"interactions": ("agrement",)}, ["did you mean 'agreement'?"]),
    "a word for interactions": ({"interactions": "agreement"}, ["('agreement',)"]),
    "no interactions": ({"interactions": None}, ["interactions is None"]),
    "meaningless": (
        {"method": "reptile", "interactions": ("sharing",)},
        ["sharing has no meaning over reptile", "maml()"],
    ),
    "negative steps": ({"inner_steps": -1}, ["inner_steps is -1", "at least 0"]),
    "half a step": ({"inner_steps": 1.5}, ["inner_steps is 1.5", "whole number"]),
    "no meta-step": ({"steps": 0}, ["steps is 0", "at least 1"]),
    "a yes for steps": ({"steps": True}, ["steps is True"]),
    "a word for steps": ({"steps": "many"}, ["steps is 'many'"]),
    "no tasks": ({"tasks_per_step": 0}, ["tasks_per_step is 0"]),
    "no shots": ({"shots": 0}, ["shots is 0"]),
    "no queries": ({"queries": None}, ["queries is None"]),
    "rate of 0": ({"inner_lr": 0.0}, ["inner_lr is 0.0", "above 0"]),
    "rate of nan": ({"inner_lr": float("nan")}, ["inner_lr is nan"]),
    "huge rate": ({"outer_lr": 1e39}, ["outer_lr is 1e+39"]),
    "no inner rate": ({"inner_lr": None}, ["inner_lr is None"]),
    "one width": ({"hidden": 64}, ["hidden is 64", "(64, 64)"]),
    "width of 0": ({"hidden": (0,)}, ["hidden is 0"]),
    "huge width": ({"hidden": (10**12,)}, ["hidden is 1000000000000"]),
    "words for widths": ({"hidden": "64"}, ["hidden is '64'"]),
    "activation": ({"activation": "reluu"}, ["did you mean 'relu'?"]),
    "standardise": ({"standardise": "yes"}, ["standardise is 'yes'"]),
    "random state": ({"random_state": "seed"}, ["random_state is 'seed'"]),
    "negative random state": ({"random_state": -1}, ["random_state is -1"]),
    "fresh steps": ({"fresh_steps": -3}, ["fresh_steps is -3"]),
    "device": ({"device": "gpu"}, ["device is 'gpu'"]),
}
TASKS: dict[str, tuple[Any, type[MetaccordError], list[str]]] = {
    "nothing": ([], DataError, ["tasks is empty"]),
    "none": (None, UsageError, ["tasks is NoneType", "pairs (X, y)"]),
    "a word": ("tasks", UsageError, ["tasks is str"]),
    "one array": (X, UsageError, ["task 0 is ndarray", "pair (X, y)"]),
    "one task, not in a list": ((X, Y), UsageError, ["task 0 is ndarray"]),
    "three parts": ([(X, Y, Y)], UsageError, ["task 0 is tuple"]),
    "other columns": ([*WAVES, (np.ones((5, 2)), Y[:5])], DataError, ["task 3 has 2", "task 0"]),
    "other lengths": ([WAVES[0], (X, Y[:-1])], DataError, ["task 1", "[8, 7]"]),
    "one example": ([(X[:1], Y[:1])], DataError, ["task 0", "minimum of 2 is required"]),
    "one dimension": ([(Y, Y)], DataError, ["task 0", "Expected 2D array"]),
    "two targets": ([(X, np.ones((8, 2)))], DataError, ["task 0", "1d array"]),
    "nan": ([(X * np.nan, Y)], DataError, ["task 0", "NaN"]),
    "infinite target": ([(X, [np.inf] * 8)], DataError, ["task 0", "infinity"]),
    "words": ([(np.array([["a"]] * 8), Y)], DataError, ["task 0"]),
    "words for numbers": ([(X, ["a"] * 8)], DataError, ["task 0"]),
    "a source of trees": (Quadratics(), UsageError, ["tuple of tensors", "metaccord.train"]),
}
CLASSES: dict[str, tuple[Any, type[MetaccordError], list[str]]] = {
    "one example of a class": (
        [(BLOBS[0][0], np.array(["a"] * 11 + ["b"]))],
        DataError,
        ["task 0: class b has one example", "leave it out"],
    ),
    "fractions": ([(X, Y)], DataError, ["task 0", "fractions", "MetaRegressor"]),
    "no number": ([(X, [np.nan] * 8)], DataError, ["task 0", "not finite"]),
    "mixed types": (
        [(X, np.array(["a", 1] * 4, object))],
        DataError,
        ["task 0", "cannot be sorted"],
    ),
    "types of tasks": (
        [(X, ["a", "b"] * 4), (X, [1, 2] * 4)],
        DataError,
        ["different tasks", "cannot be sorted"],
    ),
    "a source of numbers": (Sinusoid(), UsageError, ["Sinusoid", "MetaRegressor"]),
}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("verb", ["meta_fit", "fit"])
def test_parameters(name: str, verb: str) -> None:
    given, words = PARAMETERS[name]
    model = MetaRegressor(**{**SMALL, **given})  # scikit-learn checks nothing at construction
    data = (WAVES,) if verb == "meta_fit" else (X, Y)
    with refusal(words):
        getattr(model, verb)(*data)
    assert model.learned is None
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("name", TASKS)
def test_tasks(name: str) -> None:
    tasks, error, words = TASKS[name]
    model = MetaRegressor(**SMALL)
    with refusal(words, error):
        model.meta_fit(tasks)
    assert model.learned is None


@pytest.mark.parametrize("name", CLASSES)
def test_tasks_of_classes(name: str) -> None:
    tasks, error, words = CLASSES[name]
    with refusal(words, error):
        MetaClassifier(**SMALL).meta_fit(tasks)


def test_labels_and_methods_that_do_not_fit() -> None:
    own = MetaClassifier("finetune", labels="own", **SMALL)
    with refusal(["finetune", "labels='shared'"]):
        own.meta_fit(BLOBS)
    other = MetaClassifier(labels="share", **SMALL)
    with refusal(["did you mean 'shared'?"]):
        other.meta_fit(BLOBS)


def test_sources_that_make_their_examples_themselves() -> None:
    frame = pd.DataFrame({"who": np.repeat(np.arange(9), 8), "x": DRAW.normal(size=72)})
    table = from_table(frame.assign(y=frame.x * 2), target="y", group="who", shots=2, queries=2)
    with refusal(["Table", "pairs (X, y)", "predictor"]):
        MetaRegressor(**SMALL).meta_fit(table)
    x = DRAW.normal(size=(72, 2))
    source = from_arrays(x, x, groups=frame.who, shots=2, queries=2)
    with refusal(["Arrays has 2 targets"]):
        MetaRegressor(**SMALL).meta_fit(source)
    source = from_arrays(x, frame.who, shots=2, queries=2)
    shared = MetaClassifier(labels="shared", **SMALL)
    with refusal(["labels is 'shared'", "labels='auto'"]):
        shared.meta_fit(source)


@pytest.fixture(scope="module")
def fitted() -> MetaClassifier:
    return MetaClassifier(**SMALL).meta_fit(BLOBS)


def test_a_new_task_of_another_shape(fitted: MetaClassifier) -> None:
    x, y = BLOBS[0]
    with refusal(["X has 9 features", "have 10"], DataError):
        fitted.fit(x[:, 1:], y)
    with refusal(["'wolf'", "'ant', 'bee', 'cat'", "own"], DataError):
        fitted.fit(x, ["wolf"] * 12)
    own = MetaClassifier(labels="own", **SMALL).meta_fit(BLOBS)
    with refusal(["y has 4 classes", "at most 3"], DataError):
        own.fit(x, np.arange(12) % 4)
    with refusal(["zero"], ValueError):
        fitted.fit(x, y, np.zeros(12))


def test_columns_in_another_order(fitted: MetaClassifier) -> None:
    """A data frame says what its columns are; a swap would otherwise be silent."""
    frames = [(pd.DataFrame(x[:, :2], columns=["width", "height"]), y) for x, y in BLOBS]
    x, y = frames[0]
    model = MetaClassifier(**SMALL).meta_fit(frames)
    assert model.fit(x, y).predict(x).shape == (12,)
    with refusal(["X: column 0 is called 'height'", "'width'"], DataError):
        model.fit(x[x.columns[::-1]], y)
    other = x.rename(columns={"height": "depth"})
    with refusal(["column 1 is called 'depth'", "'height'"], DataError):
        model.fit(other, y)
    with refusal(["task 1: column 1"], DataError):
        MetaClassifier(**SMALL).meta_fit([(x, y), (other, y)])
    assert model.fit(x.to_numpy(), y).meta_learned_, "an array has no names"
    assert fitted.learned.names == ()


def test_what_was_learned_cannot_be_changed_afterwards(fitted: MetaClassifier) -> None:
    x, y = BLOBS[0]
    for given, words in (
        ({"hidden": (5,)}, ["hidden is (5,)", "(4,)", "meta_fit again"]),
        ({"activation": "tanh"}, ["activation is 'tanh'"]),
        ({"method": "fomaml"}, ["the method is fomaml", "maml was"]),
        ({"interactions": ("agreement",)}, ["maml+agreement"]),
        ({"learned": torch.zeros(1)}, ["learned is Tensor"]),
    ):
        with refusal(words):
            clone(fitted).set_params(**given).fit(x, y)
    rates = MetaClassifier("meta_sgd", **SMALL).meta_fit(BLOBS).set_params(inner_lr=0.5)
    with refusal(["inner_lr is 0.5", "learned its rates from 0.1"]):
        rates.fit(x, y)
