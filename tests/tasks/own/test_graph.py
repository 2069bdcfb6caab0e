"""Graphs in memory: the machinery of files, splits by class names, and by regions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.data import graphs
from metaccord.defaults import default
from metaccord.errors import DataError, UsageError
from metaccord.tasks.nodes import Nodes
from metaccord.tasks.own.graph import regions
from metaccord.tasks.source import SPLITS
from tests.small_graph import small_graph, store

SIDE = 18


def given(arrays: dict[str, np.ndarray]):
    """Return edges, features and labels of a graph file as a user would hold them."""
    rows = np.repeat(np.arange(len(arrays["labels"])), np.diff(arrays["adj_indptr"]))
    edges = np.stack([rows, arrays["adj_indices"]], 1)
    features = np.zeros((len(arrays["labels"]), int(arrays["feat_dim"])))
    where = np.repeat(np.arange(len(features)), np.diff(arrays["feat_indptr"]))
    features[where, arrays["feat_indices"]] = arrays["feat_data"]
    labels = [None if i < 0 else str(arrays["class_names"][i]) for i in arrays["labels"]]
    return edges, features, labels


def grid():
    """Return a square of nodes with 3 classes in stripes of one column each."""
    number = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    edges = np.concatenate([
        np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
        np.stack([number[:-1].ravel(), number[1:].ravel()], 1),
    ])  # fmt: skip
    labels = (number % SIDE % 3).ravel()
    return edges, np.eye(3)[labels] + 0.01 * np.arange(len(labels))[:, None], labels


@pytest.mark.parametrize("form", ["propagated", "gcn", "subgraph"])
def test_memory_and_file_give_the_same_tasks(tmp_path, form: str) -> None:
    options = {"shots": 2, "queries": 3, "form": form}
    file = Nodes(graph=store(tmp_path), **options)
    memory = mc.tasks.from_graph(*given(small_graph()), **options)
    for split in SPLITS:
        one, other = (tasks.episodes(split, 1, range(3)) for tasks in (file, memory))
        for name, leaf in one.support.inputs.items():
            assert torch.equal(leaf, other.support.inputs[name])
        assert torch.equal(one.extra["classes"], other.extra["classes"])
    assert memory.names("train") == ("a", "b", "c", "d", "e", "f")
    assert memory.graph.startswith("memory:")
    assert mc.tasks.from_graph(*given(small_graph()), **options) == memory


def test_other_forms_of_edges_and_features_are_read() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    edges, features, labels = given(small_graph())
    options = {"shots": 2, "queries": 3}
    plain = mc.tasks.from_graph(edges, features, labels, **options)
    other = mc.tasks.from_graph(
        torch.from_numpy(edges.T.copy()), sparse.csr_matrix(features), labels, **options
    )
    one, two = (t.episodes("test", 0, range(2)).query.inputs["features"] for t in (plain, other))
    assert torch.equal(one, two)


def test_classes_are_chosen_by_name() -> None:
    options = {"shots": 2, "queries": 3, "train": ("f", "a"), "test": ("b", "c")}
    tasks = mc.tasks.from_graph(*given(small_graph()), **options)
    assert [tasks.classes(split).tolist() for split in SPLITS] == [[0, 5], [3, 4], [1, 2]]
    with pytest.raises(DataError, match=r"class 'a' is in tasks\.train and in tasks\.test"):
        mc.tasks.from_graph(*given(small_graph()), **{**options, "test": ("a", "c")})


def test_regions_are_connected_and_share_no_node() -> None:
    edges, features, labels = grid()
    options = {"shots": 2, "queries": 4, "ways": 3}
    tasks = mc.tasks.from_graph(edges, features, labels, split_by="region", **options)
    graph = graphs.load(tasks.graph)
    region = regions(graph, (0.6, 0.2, 0.2), 0)
    total = SIDE * SIDE
    for seed in range(8):
        sizes = np.bincount(regions(graph, (0.6, 0.2, 0.2), seed))
        assert sizes[1:].tolist() == [round(0.2 * total)] * 2
    near = [graph.indices[graph.indptr[i] : graph.indptr[i + 1]] for i in range(total)]
    first = [int(np.flatnonzero(region == 2)[0])]
    for node in first:
        first += [int(n) for n in near[node] if region[n] == 2 and n not in first]
    assert len(first) == (region == 2).sum()
    for number, split in enumerate(SPLITS):
        drawn, classes = tasks.nodes(split, 0, range(20))
        assert (region[drawn] == number).all()
        names = {tasks.names(split)[i] for i in classes.ravel()}
        assert names == {f"{label} ({split})" for label in range(3)}


def test_induced_training_sees_no_edge_to_other_regions() -> None:
    edges, features, labels = grid()
    options = {"shots": 2, "queries": 4, "ways": 3, "setting": "induced"}
    tasks = mc.tasks.from_graph(edges, features, labels, split_by="region", **options)
    region = regions(graphs.load(tasks.graph), (0.6, 0.2, 0.2), 0)
    known = tasks.known("train").edges()
    rows = np.repeat(np.arange(SIDE * SIDE), np.diff(known.indptr))
    assert len(rows)
    assert (region[rows] == 0).all()
    assert (region[known.indices] == 0).all()
    moved = features.copy()
    moved[region > 0] += 5.0
    other = mc.tasks.from_graph(edges, moved, labels, split_by="region", **options)
    one, two = (t.episodes("train", 0, range(2)).support.inputs["features"] for t in (tasks, other))
    assert torch.equal(one, two)


def test_a_graph_in_memory_is_trained_on_and_stored_by_its_hash(tmp_path) -> None:
    tasks = mc.tasks.from_graph(*given(small_graph()), shots=2, queries=3)
    experiment = default(tasks).changed(["steps=1", "num_tasks=2", "plan.chunk=all"])
    list(mc.run(experiment, tmp_path / "run"))
    learner = mc.load(tmp_path / "run")
    assert learner.method == experiment.method
    name = tasks.graph
    held = graphs._HELD.pop(name)
    graphs_of = mc.tasks.nodes.loaded
    graphs_of.cache_clear()
    try:
        with pytest.raises(DataError, match=r"was in the memory of the program that trained"):
            graphs_of(name, None)
    finally:
        graphs._HELD[name] = held


EDGES, FEATURES, LABELS = grid()
BAD = {
    "edges": ((EDGES[:, :1], FEATURES, LABELS), {}, DataError, r"edges has shape"),
    "floats": ((EDGES * 1.0, FEATURES, LABELS), {}, DataError, r"pairs of whole numbers"),
    "range": ((EDGES + 1, FEATURES, LABELS), {}, DataError, r"edges name nodes 1 \.\. 324"),
    "rows": ((EDGES, FEATURES[1:], LABELS), {}, DataError, r"features has 323 rows"),
    "nan": ((EDGES, FEATURES * np.nan, LABELS), {}, DataError, r"features, row 0 is missing"),
    "flat": ((EDGES, FEATURES[:, 0], LABELS), {}, DataError, r"give numbers \[N, F\]"),
    "one class": ((EDGES, FEATURES, LABELS * 0), {}, DataError, r"labels names 1 classes"),
    "by": ((EDGES, FEATURES, LABELS), {"split_by": "regions"}, UsageError, r"mean 'region'"),
    "few": (
        (EDGES, FEATURES, LABELS), {"split_by": "region", "shots": 90}, UsageError, r"lower ways",
    ),
    "lists": (
        (EDGES, FEATURES, LABELS), {"split_by": "region", "test": ("1",)}, UsageError,
        r"test is for classes",
    ),
    "fractions": (
        (EDGES, FEATURES, LABELS), {"split_by": "region", "fractions": (1, 1, 1)}, UsageError,
        r"with the sum 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_graphs_are_refused(fault: str) -> None:
    data, options, kind, message = BAD[fault]
    with pytest.raises(kind, match=message):
        mc.tasks.from_graph(*data, **options)
