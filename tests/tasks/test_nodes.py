"""Node episodes: splits share no class, a pure function of their address, right neighbourhoods."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from metaccord.errors import DataError, UsageError
from metaccord.tasks.nodes import Nodes
from metaccord.tasks.source import SPLITS
from tests.folder import FOLDER
from tests.reference import graphs as dense
from tests.small_graph import BLANK, ISOLATED, UNLABELLED, small_graph, store

FORMS = ("propagated", "gcn", "sage", "subgraph")
LABELS = small_graph()["labels"]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return store(tmp_path_factory.mktemp("graph"))


def source(path: str, **options) -> Nodes:
    return Nodes(graph=path, **{"shots": 2, "queries": 3, "dtype": "float64", **options})


def unpadded(inputs, task: int) -> list[list]:
    """What the padding of a task does not touch, in an order that it does not touch either."""
    rows = inputs["features"][task].flatten(0, -2)
    found = [sorted(rows[rows.abs().sum(1) > 0].tolist())]
    if "weights" in inputs:
        found += [sorted(row[row != 0].tolist()) for row in inputs["weights"][task]]
    if "edges" in inputs:
        pairs = inputs["edges"][task].flatten(0, 1)
        pairs = pairs[pairs[:, 0] >= 0]
        found.append(sorted(rows[pairs].flatten(1).tolist()))
    return found


@pytest.mark.parametrize("setting", ["transductive", "induced"])
@pytest.mark.parametrize("form", FORMS)
def test_a_task_does_not_depend_on_which_others_are_asked_for(path, form, setting):
    tasks = source(path, form=form, setting=setting)
    whole = tasks.episodes("train", 3, range(5))
    again = source(path, form=form, setting=setting).episodes("train", 3, range(2, 4))
    for batch, other in ((whole.support, again.support), (whole.query, again.query)):
        assert torch.equal(batch.targets[2:4], other.targets)
        for task in range(2):
            assert unpadded(batch.inputs, task + 2) == unpadded(other.inputs, task)
    for name in ("order", "dropout", "classes"):
        assert torch.equal(whole.extra[name][2:4], again.extra[name])


@pytest.mark.parametrize("form", FORMS)
def test_every_leaf_begins_with_tasks_and_examples(path, form):
    episode = source(path, form=form, dtype="float32").episodes("train", 0, range(3))
    for batch, count in ((episode.support, 4), (episode.query, 6)):
        assert batch.targets.tolist() == [[0] * (count // 2) + [1] * (count // 2)] * 3
        assert all(leaf.shape[:2] == (3, count) for leaf in batch.inputs.values())
        assert batch.inputs["features"].dtype == torch.float32
    assert episode.extra["classes"].shape == (3, 2)


def test_splits_share_no_class_and_follow_the_stated_rule(path):
    for seed in range(5):
        tasks = source(path, split_seed=seed)
        found = [set(tasks.classes(split).tolist()) for split in SPLITS]
        assert list(map(len, found)) == [2, 2, 2]
        assert len(set.union(*found)) == 6
    assert len({tuple(source(path, split_seed=s).classes("train")) for s in range(9)}) > 3


def test_drawn_nodes_are_labelled_different_and_of_their_class(path):
    tasks = source(path, split=(2, 2, 2))
    for split in SPLITS:
        drawn, classes = tasks.nodes(split, 4, range(20))
        assert drawn.shape == (20, 2, 5)
        assert (LABELS[drawn] == classes[..., None]).all()
        assert set(np.unique(classes)) == set(tasks.classes(split))
        assert all(len(set(task.ravel())) == 10 for task in drawn)
        assert not set(drawn.ravel()) & {*UNLABELLED, BLANK}
        assert torch.equal(
            tasks.episodes(split, 4, range(20)).extra["classes"], torch.from_numpy(classes)
        )


def test_streams_differ_by_seed_split_step_and_task(path):
    tasks = source(path)
    first = tasks.nodes("train", 0, range(2))[0]
    assert not np.array_equal(first[0], first[1])
    for other in (
        tasks.nodes("train", 1, range(2)),
        tasks.nodes("test", 0, range(2)),
        replace(tasks, seed=1).nodes("train", 0, range(2)),
    ):
        assert not np.array_equal(first, other[0])
    more = replace(tasks, train_shots=4).nodes("train", 0, range(2))[0]
    assert np.array_equal(more[..., :5], first), "more shots extend the same draw"


def known_nodes(tasks: Nodes, split: str) -> np.ndarray | None:
    if tasks.setting == "transductive" or split == "test":
        return None
    seen = SPLITS[: SPLITS.index(split) + 1]
    return np.isin(LABELS, np.concatenate([tasks.classes(s) for s in seen]))


@pytest.mark.parametrize("setting", ["transductive", "induced"])
@pytest.mark.parametrize("split", SPLITS)
def test_propagated_features_are_those_of_the_dense_twin(path, setting, split):
    arrays = small_graph()
    for hops, normalise in ((0, "sum"), (1, "none"), (2, "length"), (2, "sum"), (3, "length")):
        tasks = source(path, setting=setting, hops=hops, normalise=normalise)
        s = dense.symmetric(dense.adjacency(arrays, known_nodes(tasks, split)))
        rows = torch.linalg.matrix_power(s, hops) @ dense.features(arrays, sums=normalise == "sum")
        rows = dense.unit(rows) if normalise == "length" else rows
        drawn, _ = tasks.nodes(split, 1, range(4))
        found = tasks.episodes(split, 1, range(4)).query.inputs["features"]
        wanted = rows[torch.from_numpy(drawn[..., 2:].reshape(4, -1))]
        assert torch.allclose(found, wanted, rtol=0, atol=1e-14)


def edges_seen(tasks: Nodes, split: str) -> set[tuple[bytes, bytes]]:
    """Pairs of the feature rows (all different) of nodes joined by an edge."""
    found = set()
    for step in range(6):
        inputs = tasks.episodes(split, step, range(8)).query.inputs
        for task in range(8):
            rows = inputs["features"][task].flatten(0, 1).numpy()
            pairs = inputs["edges"][task].flatten(0, 1)
            for a, b in pairs[pairs[:, 0] >= 0].tolist():
                found.add((rows[a].tobytes(), rows[b].tobytes()))
    return found


def test_induced_training_meets_no_edge_of_a_class_held_out(path):
    rows = dense.features(small_graph(), sums=False).numpy()
    label = {row.tobytes(): int(k) for row, k in zip(rows, LABELS, strict=True)}
    for setting, held in (("transductive", True), ("induced", False)):
        tasks = source(path, form="subgraph", setting=setting, normalise="none")
        train, validation = (set(tasks.classes(s).tolist()) for s in SPLITS[:2])
        ends = {label[end] for pair in edges_seen(tasks, "train") for end in pair}
        assert (not ends <= train) is held, setting
        ends = {label[end] for pair in edges_seen(tasks, "validation") for end in pair}
        assert (not ends <= train | validation) is held, setting
        ends = {label[end] for pair in edges_seen(tasks, "test") for end in pair}
        assert ends & train and -1 in ends, "for test all edges are there"


def test_an_isolated_node_keeps_its_own_features(path):
    tasks = source(path, shots=1, queries=8, normalise="sum")
    own = dense.features(small_graph(), sums=True)[ISOLATED]
    split = next(s for s in SPLITS if LABELS[ISOLATED] in tasks.classes(s))
    drawn, _ = tasks.nodes(split, 0, range(1))
    episode = tasks.episodes(split, 0, range(1))
    place = int(np.flatnonzero(drawn[0].ravel() == ISOLATED)[0])
    way, number = divmod(place, 9)
    batch = episode.query if number else episode.support
    found = batch.inputs["features"][0, way * (8 if number else 1) + max(0, number - 1)]
    assert torch.allclose(found, own, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ways": 3}, r"tasks.ways is 3, but the train split .* has 2 classes"),
        ({"ways": 1}, "at least 2"),
        ({"shots": 7}, r"class '[a-f]' of graph .* has 9 labelled nodes, .* is 10"),
        ({"train_shots": 7}, r"class '[a-f]' .* has 9 labelled nodes"),
        ({"split": (4, 2, 1)}, r"tasks.split is \(4, 2, 1\): graph .* has 6 classes"),
        ({"split": (6, 0, 0)}, r"at least 1"),
        ({"setting": "inductive"}, "choose from transductive, induced"),
        ({"form": "gnc"}, "choose from propagated, gcn, sage, subgraph"),
        ({"dtype": "float16"}, "choose from float32, float64"),
        ({"normalise": "rows"}, "choose from length, sum, none"),
        ({"hops": 5}, r"tasks.hops is 5: it must be in 0 \.\. 4"),
        ({"form": "subgraph", "hops": 0}, r"it must be in 1 \.\. 4"),
        ({"form": "gcn", "hops": 3}, "for two layers: use 2"),
        ({"path": "coauthor"}, "did you mean 'coauthor_cs'"),
    ],
)
def test_impossible_tasks_are_refused(path, wrong, words):
    with pytest.raises(UsageError, match=words):
        source(**{"path": path, **wrong})


def test_a_missing_graph_and_a_wrong_split_are_named(path, tmp_path):
    with pytest.raises(DataError, match=r"holds graphs/cora\.npz"):
        Nodes(graph="cora", root=str(tmp_path))
    with pytest.raises(UsageError, match="did you mean 'train'"):
        source(path).episodes("trian", 0, range(1))


@pytest.mark.skipif(FOLDER is None, reason="needs the graphs: set METACCORD_DATA")
@pytest.mark.parametrize(
    ("graph", "counts"),
    [("coauthor_cs", [5, 5, 5]), ("amazon_computers", [4, 3, 3]), ("cora_ml", [3, 2, 2])],
)
def test_real_graphs_split_as_stated(graph, counts):
    tasks = Nodes(graph=graph, root=str(FOLDER), hops=0, normalise="sum")
    assert [len(tasks.classes(split)) for split in SPLITS] == counts
    rows = tasks.episodes("train", 0, range(2)).query.inputs["features"]
    assert rows.shape == (2, 20, tasks.features)
    sums = rows.abs().sum(2)
    assert (torch.isclose(sums, torch.ones(())) | (sums == 0)).all() and sums.any()


@pytest.mark.skipif(FOLDER is None, reason="needs the graphs: set METACCORD_DATA")
def test_the_stream_of_episodes_is_stored():
    tasks = Nodes(graph="cora", root=str(FOLDER))
    drawn, classes = tasks.nodes("train", 3, range(4))
    digest = hashlib.sha256(drawn.tobytes() + classes.tobytes()).hexdigest()
    assert digest == STORED, "the stream of episodes has changed: say so in the changelog"


STORED = "36d55937bdd7494c631636fcf750c25a617fb86d3fbe9ba639a5e450c1caeb3e"
