"""What a family of tasks starts from: sizes, model, step sizes, outer loop."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from metaccord.errors import UsageError, unknown
from metaccord.experiment import Experiment
from metaccord.method import Method
from metaccord.methods import AGGREGATORS, BASES, WRAPPERS
from metaccord.outer import Outer
from metaccord.serial import from_tree
from metaccord.settings import parse_setting, put
from metaccord.tasks import (
    Arrays,
    Folders,
    Nodes,
    Omniglot,
    Quadratics,
    SignDigits,
    Sinusoid,
    Table,
    TaskSource,
)
from metaccord.tasks.published import PUBLISHED

OWN: dict[str, type[TaskSource]] = {"arrays": Arrays, "folders": Folders, "table": Table}
"""Families over a user's own data, ``NAME:PATH``: storable sources with a field ``path``."""
_PATHS = {"arrays": "FILE", "folders": "PATH", "table": "FILE"}
FAMILIES = (
    *("sinusoid", "quadratics", "omniglot", "sign_digits", "graph:NAME", *PUBLISHED),
    *(f"{name}:{_PATHS[name]}" for name in OWN),
)
GRAPH_MODELS = {
    "sgc": ("SGC", "propagated"),
    "gcn": ("GCN", "gcn"),
    "sage": ("GraphSAGE", "sage"),
    "geometric": ("Geometric", "subgraph"),
}
_STEPS = {
    "sinusoid": 10_000,
    "quadratics": 1000,
    "omniglot": 3000,
    "sign_digits": 1000,
    "graph": 500,
}
_INNER: dict[str, dict[str, Any]] = {
    "sinusoid": {"steps": 1, "lr": 0.01},
    "quadratics": {"steps": 3, "lr": 0.05},
    "omniglot": {"steps": 1, "lr": 0.4},
    "sign_digits": {"steps": 1, "lr": 0.4},
    "graph": {"steps": 3, "lr": 0.5},
}
_SPECIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("sinusoid", "reptile"): {"steps": 5, "lr": 0.02, "batch": 10},
    ("quadratics", "reptile"): {"steps": 3, "lr": 0.05, "batch": None},
    ("omniglot", "reptile"): {"steps": 5, "lr": 1e-3, "batch": 10, "inner": "adam"},
    ("sign_digits", "reptile"): {"steps": 5, "lr": 1e-3, "batch": 10, "inner": "adam"},
    ("graph", "reptile"): {"steps": 5, "lr": 0.1, "batch": None},
    ("graph", "maml_pp"): {"horizon": 250, "epoch": 50},
    ("sinusoid", "maml_pp"): {"steps": 3},
    ("omniglot", "maml_pp"): {"steps": 3, "lr": 0.1, "horizon": 1500},
    ("sign_digits", "maml_pp"): {"steps": 3, "lr": 0.1, "horizon": 500},
    ("omniglot", "imaml"): {"steps": 8, "lr": 0.1},
    ("sign_digits", "imaml"): {"steps": 8, "lr": 0.1},
    ("sinusoid", "imaml"): {"steps": 8, "lr": 0.02},
    ("omniglot", "finetune"): {"steps": 5, "lr": 0.1},
    ("sign_digits", "finetune"): {"steps": 5, "lr": 0.1},
}


def compose(
    base: str, interactions: list[str], family: str | dict[str, Any], labels: int = 0
) -> Method:
    """Return a base method with the defaults of a task family and interactions around it.

    Args:
        base: A word of :data:`metaccord.methods.BASES`, such as ``maml``.
        interactions: Names such as ``agreement``, applied in this order.
        family: Name of the task family, or options of the base method.
        labels: Number of true classes of the family, for methods that pre-train on them.

    Raises:
        UsageError: for unknown names, with the nearest one.
    """
    if base not in BASES:
        raise unknown("method", base, BASES)
    if isinstance(family, str):
        options = {**_INNER[family], **_SPECIAL.get((family, base), {})}
    else:
        options = dict(family)
    if "classes" in inspect.signature(BASES[base]).parameters:
        options["classes"] = labels
    method = BASES[base](**options)
    wrappers = WRAPPERS | AGGREGATORS
    for name in interactions:
        if name not in wrappers:
            raise unknown("interaction", name, wrappers)
        method = wrappers[name](method)
    return method


def default(
    family: str | TaskSource,
    base: str = "maml",
    interactions: list[str] | None = None,
    settings: Sequence[str] = (),
) -> Experiment:
    """Return the experiment that a task family starts from.

    The model depends on the family alone; the method ``warp`` adds its layers to it.

    Args:
        family: Name of the task family, such as ``"sinusoid"`` or ``"table:sales.csv"``; or tasks
            over own data, as ``mc.tasks.from_arrays`` and its like give.
        base: The base method.
        interactions: Names of interactions over it.
        settings: Changes that are to come. Those of the tasks of a graph or of own data are
            applied here, because model and sizes follow from them.

    Raises:
        UsageError: for unknown names, with the nearest one.
        DataError: if own data cannot be used.
    """
    if base not in BASES:
        raise unknown("method", base, BASES)
    if isinstance(family, Nodes):
        (kind,) = (model for model, form in GRAPH_MODELS.values() if form == family.form)
        model = {"class": kind, "features": family.features, "ways": family.ways}
        return _experiment(
            family, model, compose(base, interactions or [], "graph"), _STEPS["graph"],
            5 if base == "reptile" else 8,
        )  # fmt: skip
    if isinstance(family, TaskSource):
        return _advised(family, base, interactions or [])
    family, _, which = family.partition(":")
    if family in OWN:
        return _advised(_own(family, which, settings), base, interactions or [])
    if family in PUBLISHED and not which:
        return _advised(_built(PUBLISHED[family], {}, settings), base, interactions or [])
    if family not in _STEPS or (which and family != "graph"):
        raise unknown("tasks", ":".join([family, which] if which else [family]), FAMILIES)
    reptile = base == "reptile"
    tasks, model = _nodes(which, settings) if family == "graph" else _tasks(family, reptile)
    method = compose(base, interactions or [], family, tasks.labels)
    few = 10 if family == "sinusoid" else 5
    many = {"sinusoid": 25, "quadratics": 25, "graph": 8}.get(family, 16)
    return _experiment(tasks, model, method, _STEPS[family], few if reptile else many)


def _experiment(
    tasks: TaskSource, model: dict[str, Any], method: Method, steps: int, num_tasks: int
) -> Experiment:
    base = method.name
    if base == "warp" and model["class"] in ("MLP", "Conv4"):
        model = {**model, "warp": True}
    outer = Outer(schedule="cosine", final=1e-5) if base == "maml_pp" else Outer()
    if base == "reptile":
        outer = Outer(optimizer="sgd", lr=1.0, schedule="linear")
    return Experiment(
        tasks=tasks,
        model=model,
        method=method,
        outer=outer,
        steps=steps,
        num_tasks=num_tasks,
        threads=None if model["class"] == "Conv4" else 1,
    )


def _advised(tasks: TaskSource, base: str, interactions: list[str]) -> Experiment:
    """Return what tasks that advise their own start from."""
    found = tasks.advice(base)
    method = compose(base, interactions, found.inner, tasks.labels)
    few = min(5, found.num_tasks) if base == "reptile" else found.num_tasks
    return _experiment(tasks, found.model, method, found.steps, few)


def _own(family: str, path: str, settings: Sequence[str]) -> TaskSource:
    """Return the tasks of ``NAME:PATH`` with their settings."""
    if not path:
        raise UsageError(f"{family}: needs a path, such as {family}:{_PATHS[family]}")
    return _built(OWN[family], {"path": path}, settings)


def _built(cls: type[TaskSource], given: dict[str, Any], settings: Sequence[str]) -> TaskSource:
    """Return tasks of a class with those settings that are theirs."""
    tree: dict[str, Any] = {"class": cls.__name__, **given}
    for name, text in map(parse_setting, settings):
        if name[0] == "tasks" and len(name) == 2:
            put(tree, name[1], text)
    tasks: TaskSource = from_tree(tree, "tasks")
    return tasks


def _nodes(which: str, settings: Sequence[str]) -> tuple[TaskSource, dict[str, Any]]:
    """Return the tasks of a graph and their model: ``NAME``, or ``NAME:gcn``, ``NAME:sage``."""
    graph, _, model = which.partition(":")
    if not graph:
        raise UsageError("graph: needs the name of a graph or a file, such as graph:coauthor_cs")
    if (model or "sgc") not in GRAPH_MODELS:
        raise unknown("graph model", model, GRAPH_MODELS)
    kind, form = GRAPH_MODELS[model or "sgc"]
    tasks = _built(Nodes, {"graph": graph, "form": form}, settings)
    assert isinstance(tasks, Nodes)
    return tasks, {"class": kind, "features": tasks.features, "ways": tasks.ways}


def _tasks(family: str, reptile: bool) -> tuple[TaskSource, dict[str, Any]]:
    """Return the tasks, and the model that learns them."""
    if family == "sinusoid":
        model = {"class": "MLP", "hidden": [64, 64], "activation": "tanh"}
        return Sinusoid(train_shots=50 if reptile else None), model
    if family == "quadratics":
        return Quadratics(), {"class": "Point"}
    if family == "sign_digits":
        return SignDigits(queries=5, train_shots=10 if reptile else None), {
            "class": "Conv4",
            "channels": 3,
            "size": 32,
        }
    if reptile:
        return Omniglot(queries=1, train_shots=10, rotations="classes"), {"class": "Conv4"}
    return Omniglot(queries=5), {"class": "Conv4"}
