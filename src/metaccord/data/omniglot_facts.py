"""Facts about Omniglot that its archives do not hold: class order, a split, the one-shot runs."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class ClassTable(NamedTuple):
    """What is known about the 1623 characters, in the order of the pictures.

    Attributes:
        alphabet: Row of ``alphabet_names``, ``[1623]``.
        character: Number of the character in its alphabet, from 1, ``[1623]``.
        partition: 0 background set, 1 evaluation set, ``[1623]``.
        vinyals: 0 train, 1 validation, 2 test in the split of Vinyals et al., ``[1623]``.
        alphabet_names: Folder names of the original data, 50.
    """

    alphabet: Integers
    character: Integers
    partition: Integers
    vinyals: Integers
    alphabet_names: tuple[str, ...]


class OneShotRuns(NamedTuple):
    """The 20 official 20-way one-shot runs, each within one evaluation alphabet.

    ``test_class[r, i] == train_class[r, answers[r, i]]`` for each run r and item i.

    Attributes:
        train_class: Class index of each training picture, ``[20, 20]``.
        train_drawer: Its drawing, an index from 0 into the pictures' second axis, ``[20, 20]``.
        test_class: Class index of each test picture, ``[20, 20]``.
        test_drawer: Its drawing, from 0, ``[20, 20]``.
        answers: Position of the training picture with the same character, ``[20, 20]``.
    """

    train_class: Integers
    train_drawer: Integers
    test_class: Integers
    test_drawer: Integers
    answers: Integers


def class_table() -> ClassTable:
    """Return the table of the 1623 characters.

    Reference:
        Order and partition: B. M. Lake et al., Science 350, 2015. Split: O. Vinyals et al.,
        Matching networks for one shot learning, NeurIPS 2016, in the list of Torchmeta.
    """
    rows = _facts()["alphabets"]
    sizes = [len(codes) for _, _, codes in rows]
    return ClassTable(
        alphabet=np.repeat(np.arange(len(rows)), sizes),
        character=np.concatenate([np.arange(1, size + 1) for size in sizes]),
        partition=np.repeat(np.array([partition for _, partition, _ in rows]), sizes),
        vinyals=np.array([int(code) for _, _, codes in rows for code in codes]),
        alphabet_names=tuple(name for name, _, _ in rows),
    )


def one_shot_runs() -> OneShotRuns:
    """Return the official one-shot runs as indices into the Omniglot pictures.

    Example:
        >>> runs = one_shot_runs()
        >>> runs.train_class.shape, int(runs.answers[0, 0])
        ((20, 20), 7)
    """
    runs = _facts()["one_shot_runs"]
    train_class = np.array([run["train_class"] for run in runs])  # [20, 20]
    answers = np.array([run["answers"] for run in runs])  # [20, 20]
    drawers = np.array([[run["train_drawer"], run["test_drawer"]] for run in runs]) - 1  # [20, 2]
    train_drawer, test_drawer = np.repeat(drawers.T[:, :, None], answers.shape[1], axis=2)
    return OneShotRuns(
        train_class=train_class,
        train_drawer=train_drawer,
        test_class=np.take_along_axis(train_class, answers, axis=1),
        test_drawer=test_drawer,
        answers=answers,
    )


def _facts() -> Any:
    """Read the facts shipped with the package."""
    file = resources.files("metaccord.data").joinpath("facts", "omniglot.json")
    return json.loads(file.read_text(encoding="utf-8"))
