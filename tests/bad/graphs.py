"""Graph files that cannot be trained on, each one change away from a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.data.hostile import REFUSED

Arrays = dict[str, np.ndarray]
NODES, CLASSES = 120, 6


def good() -> Arrays:
    """A ring of 120 nodes in 6 classes with 3 features."""
    numbers = np.arange(NODES)
    return {
        "adj_indptr": np.arange(NODES + 1),
        "adj_indices": (numbers + 1) % NODES,
        "feat_indptr": np.arange(NODES + 1),
        "feat_indices": numbers % 3,
        "feat_data": np.ones(NODES),
        "feat_dim": np.array(3),
        "labels": numbers % CLASSES,
        "class_names": np.array([f"class {k}" for k in range(CLASSES)]),
    }


def put(name: str, at: int, value: Any) -> Callable[[Arrays], None]:
    """Change one entry."""

    def change(arrays: Arrays) -> None:
        arrays[name][at] = value

    return change


def become(name: str, value: Any) -> Callable[[Arrays], None]:
    """Change a whole array."""
    return lambda arrays: arrays.update({name: np.asarray(value)})


def typed(name: str, kind: str) -> Callable[[Arrays], None]:
    """Change the type of an array."""
    return lambda arrays: arrays.update({name: arrays[name].astype(kind)})


def without(name: str) -> Callable[[Arrays], None]:
    """Leave an array out."""

    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


def relabelled(label: int, other: int) -> Callable[[Arrays], None]:
    """Give the nodes of one class to another, except the first."""

    def change(arrays: Arrays) -> None:
        members = np.flatnonzero(arrays["labels"] == label)[1:]
        arrays["labels"][members] = other

    return change


NEEDED = [name for name in good() if name != "class_names"]
ROWS: dict[str, tuple[Callable[[Arrays], None], int, list[str]]] = {
    **{f"no {name}": (without(name), 3, [f"no array '{name}'", "fresh copy"]) for name in NEEDED},
    **{f"{n} of float16": (typed(n, "float16"), 3, [f"'{n}'", "float16"]) for n in NEEDED},
    **{f"{n} big-endian": (typed(n, ">i4"), 3, [f"'{n}'", ">i4"]) for n in NEEDED},
    **{
        f"{name} too short": (
            become(name, good()[name][:-1]),
            3,
            [name.split("_")[0], "mend the file"],
        )
        for name in NEEDED
        if name not in ("feat_dim", "labels")
    },
    **{
        f"{name} of two axes": (become(name, [good()[name]] * 2), 3, [f"'{name}'", "expected"])
        for name in NEEDED
    },
    "edge to a missing node": (put("adj_indices", 5, NODES), 3, ["adj_indices", "0 .. 119"]),
    "edge to a negative node": (put("adj_indices", 5, -1), 3, ["adj_indices", "-1 .. "]),
    "edge to a far node": (put("adj_indices", 5, 2**62), 3, ["adj_indices", "0 .. 119"]),
    "falling edges": (put("adj_indptr", 7, 3), 3, ["adj_indptr", "never falling"]),
    "edges not from 0": (put("adj_indptr", 0, 1), 3, ["adj_indptr", "rise from 0"]),
    "edges beyond the end": (put("adj_indptr", -1, 199), 3, ["adj_indptr", "rise from 0 to 120"]),
    "feature beyond the width": (put("feat_indices", 5, 3), 3, ["feat_indices", "0 .. 2"]),
    "negative feature": (put("feat_indices", 5, -1), 3, ["feat_indices"]),
    "feature that is no number": (put("feat_data", 5, np.nan), 3, ["feat_data", "not finite"]),
    "infinite feature": (put("feat_data", 5, -np.inf), 3, ["feat_data", "not finite"]),
    "huge feature": (put("feat_data", 5, 1e39), 3, ["feat_data", "too large for float32"]),
    "no width": (become("feat_dim", 0), 3, ["feat_dim is 0", "1 .. "]),
    "negative width": (become("feat_dim", -3), 3, ["feat_dim is -3"]),
    "huge width": (become("feat_dim", 2**40), 3, ["feat_dim is 1099511627776"]),
    "no node": (become("labels", np.zeros(0, np.int64)), 3, ["labels is empty", "at least 1"]),
    "fewer labels": (become("labels", np.arange(NODES - 1) % CLASSES), 3, ["119 nodes need 120"]),
    "label out of range": (put("labels", 5, CLASSES), 3, ["labels are in 0 .. 6", "-1 .. 5"]),
    "label below -1": (put("labels", 5, -2), 3, ["labels are in -2", "-1 for none"]),
    "huge label": (put("labels", 5, 2**62), 3, ["labels"]),
    "no label at all": (become("labels", np.full(NODES, -1)), 3, ["one node must have one"]),
    "names of numbers": (become("class_names", np.arange(CLASSES)), 3, ["'class_names'", "str"]),
    "names with a line end": (put("class_names", 0, "a\nb"), 3, ["class_names", "printed"]),
    "no name": (become("class_names", np.zeros(0, "U3")), 3, ["labels"]),
    # sound, but there are no tasks in it
    "one class": (
        become("labels", np.zeros(NODES, np.int64)),
        2,
        ["has 0 labelled nodes", "lower one"],
    ),
    "a class of one node": (relabelled(2, 3), 2, ["class 'class 2'", "1 labelled nodes", "lower"]),
    "unlabelled nodes": (
        become("labels", np.where(np.arange(NODES) < 100, -1, np.arange(NODES) % CLASSES)),
        2,
        ["labelled nodes", "lower one of them"],
    ),
    "two classes": (become("class_names", ["a", "b"]), 3, ["labels are in 0 .. 5", "-1 .. 1"]),
}
SETTINGS: dict[str, tuple[int, list[str]]] = {
    "tasks.ways=3": (2, ["tasks.ways is 3", "2 classes", "tasks.split"]),
    "tasks.ways=1": (2, ["tasks.ways is 1", "at least 2"]),
    "tasks.shots=19": (2, ["tasks.shots + tasks.queries is 23", "lower one"]),
    "tasks.queries=100": (2, ["tasks.shots + tasks.queries is 101", "lower one"]),
    "tasks.train_shots=100": (2, ["tasks.shots + tasks.queries is 104", "lower one"]),
    "tasks.split=[1,1,9]": (2, ["tasks.split is (1, 1, 9)", "6 classes"]),
    "tasks.split=[4,1,0]": (2, ["tasks.split is (4, 1, 0)", "at least 1"]),
    "tasks.split=[-1,2,2]": (2, ["tasks.split is (-1, 2, 2)"]),
    "tasks.split=[2,2]": (2, ["tasks.split", "a list of 3"]),
    "tasks.hops=-1": (2, ["tasks.hops is -1", "0 .. 4"]),
    "tasks.hops=5": (2, ["tasks.hops is 5", "0 .. 4"]),
    "tasks.form=gcm": (2, ["tasks.form", "did you mean 'gcn'?"]),
    "tasks.form=gcn tasks.hops=3": (2, ["tasks.hops is 3", "use 2"]),
    "tasks.form=sage": (2, ["the model fails on inputs"]),
    "tasks.setting=inductive": (2, ["tasks.setting", "did you mean"]),
    "tasks.normalise=max": (2, ["tasks.normalise", "length"]),
    "tasks.dtype=float16": (2, ["tasks.dtype", "did you mean"]),
    "tasks.graph=corra": (2, ["unknown graph 'corra'", "did you mean 'cora'?"]),
    "tasks.graph=gone.npz": (3, ["gone.npz", "missing or no regular file"]),
    "tasks.graph=.": (3, ["missing or no regular file"]),
    "model.features=7": (2, ["the model fails on inputs"]),
    "model.class=MLP": (2, ["model.features"]),
    "model.ways=1": (2, ["the model gives 1 classes but a label is 1", "model.ways=2"]),
}
FILES: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["damaged"]),
    "web page": (b"<!DOCTYPE html><html>404</html>", ["damaged", "fresh copy"]),
    "pickle": (b"\x80\x04\x95\x00.", ["damaged"]),
    "slip": (REFUSED["parent"], ["refused", "leads outside"]),
    "bomb": (REFUSED["long archive"], ["graph.npz"]),
    "other zip": (REFUSED["other case"], ["twice"]),
}
"""In place of ``graph.npz``; exit code 3."""
