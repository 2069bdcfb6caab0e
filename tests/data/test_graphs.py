"""Graphs: the right numbers of nodes and edges; whatever is damaged gives one clear message."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from metaccord.data import graphs
from metaccord.errors import DataError, UsageError
from tests.folder import FOLDER
from tests.reference import graphs as dense
from tests.small_graph import CLASSES, UNLABELLED, small_graph, store

KNOWN = {  # nodes, undirected edges, features, classes
    "cora": (2708, 5278, 1433, 7),
    "citeseer": (3327, 4552, 3703, 6),
    "cora_ml": (2995, 8158, 2879, 7),
    "coauthor_cs": (18333, 81894, 6805, 15),
    "amazon_computers": (13752, 245861, 767, 10),
    "amazon_photo": (7650, 119081, 745, 8),
}
SIZES = dict(zip(KNOWN, (95874, 182437, 737858, 2354847, 2900283, 1494717), strict=True))


@pytest.mark.parametrize("name", KNOWN)
def test_known_graphs_have_their_published_sizes(name: str, data_root: Path) -> None:
    graph = graphs.load(name, data_root)
    assert graph.name == name
    found = (len(graph.labels), len(graph.indices) // 2, graph.feature_count)
    assert (*found, len(graph.class_names)) == KNOWN[name]
    assert (graph.labels == -1).sum() == (15 if name == "citeseer" else 0)
    rows = np.repeat(np.arange(len(graph.labels)), np.diff(graph.indptr))
    pairs = set(zip(rows.tolist(), graph.indices.tolist(), strict=True))
    assert len(pairs) == len(rows), "no edge twice"
    assert all((b, a) in pairs and a != b for a, b in pairs), "both directions, no self loop"
    file = data_root / "graphs" / f"{name}.npz"
    assert file.stat().st_size == SIZES[name]


def test_a_graph_is_what_the_dense_twin_reads(tmp_path: Path) -> None:
    arrays = small_graph()
    graph = graphs.load(store(tmp_path))
    found = np.zeros((len(graph.labels), len(graph.labels)))
    for node in range(len(graph.labels)):
        found[node, graph.indices[graph.indptr[node] : graph.indptr[node + 1]]] = 1
    assert np.array_equal(found, dense.adjacency(arrays).numpy())
    assert np.array_equal(graph.labels, arrays["labels"])
    assert graph.class_names == ("a", "b", "c", "d", "e", "f")


def test_classes_without_names_have_numbers(tmp_path: Path) -> None:
    graph = graphs.load(store(tmp_path, class_names=None))
    assert graph.class_names == tuple(map(str, range(CLASSES)))


def changed(name: str, place: int, value: float) -> dict[str, np.ndarray]:
    array = small_graph()[name].copy()
    array[place] = value
    return {name: array}


LENGTH = len(small_graph()["adj_indices"])
BAD = {
    "falling rows": (changed("adj_indptr", 5, 10_000), "adj_indptr must rise from 0"),
    "rows from 1": (changed("adj_indptr", 0, 1), "adj_indptr must rise from 0"),
    "rows end early": (changed("adj_indptr", -1, LENGTH - 1), "adj_indptr must rise from 0"),
    "node too high": (changed("adj_indices", 0, 57), r"adj_indices are in \d+ \.\. 57.*0 \.\. 56"),
    "negative node": (changed("adj_indices", 4, -1), r"adj_indices are in -1"),
    "feature too high": (changed("feat_indices", 0, 11), r"feat_indices are in .* 11"),
    "negative feature": (changed("feat_indices", 0, -3), r"feat_indices are in -3"),
    "nan": (changed("feat_data", 3, np.nan), "feat_data holds numbers that are not finite"),
    "inf": (changed("feat_data", 3, np.inf), "feat_data holds numbers that are not finite"),
    "huge": (changed("feat_data", 3, 3e38), "feat_data holds numbers too large"),
    "label too high": (changed("labels", 0, CLASSES), r"labels are in -1 \.\. 6.*-1 \.\. 5"),
    "label too low": (changed("labels", 0, -2), r"labels are in -2"),
    "no label": ({"labels": np.full(57, -1)}, "one node must have one"),
    "no nodes": ({"labels": np.zeros(0, np.int64)}, "at least 1 node"),
    "fewer labels": ({"labels": np.zeros(50, np.int64)}, "feat_indptr has 58 entries, 50 nodes"),
    "fewer values": ({"feat_data": np.ones(3, np.float32)}, "feat_data has 3 entries"),
    "no features": ({"feat_dim": np.int64(0)}, "feat_dim is 0"),
    "bomb of features": ({"feat_dim": np.int64(1 << 40)}, "feat_dim is 1099511627776"),
    "control characters": ({"class_names": np.array(["\x1b[2J"] * 6)}, "cannot be printed"),
    "no text": ({"class_names": np.full(6, 0xFFFFFFFF, np.uint32).view("<U1")}, "is no text"),
    "objects": ({"class_names": np.array([{}] * 6)}, "class_names.*is not as expected"),
    "other type": ({"labels": np.zeros(57)}, "labels.*is not as expected.*float64"),
    "matrix": ({"labels": np.zeros((57, 1), np.int64)}, r"labels.*not as expected.*\(57, 1\)"),
    "array missing": ({"feat_data": None}, "no array 'feat_data'"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_arrays_are_named(tmp_path: Path, fault: str) -> None:
    arrays, words = BAD[fault]
    with pytest.raises(DataError, match=words) as caught:
        graphs.load(store(tmp_path, **arrays))
    assert "small.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_far_labels_do_not_make_far_more_classes(tmp_path: Path) -> None:
    far = changed("labels", 0, 1 << 40)
    with pytest.raises(DataError, match="labels reach 1099511627776 in a graph of 57 nodes"):
        graphs.load(store(tmp_path, class_names=None, **far))


def test_mutated_files_give_one_kind_of_error_or_a_sound_graph(tmp_path: Path) -> None:
    good = Path(store(tmp_path)).read_bytes()
    path, draw, refused = tmp_path / "b.npz", random.Random(0), 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            graph = graphs.load(str(path))
            assert (graph.labels[list(UNLABELLED)] == -1).all()
        except DataError:
            refused += 1
    assert refused > 150


def test_a_missing_file_names_what_to_put_where(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(tmp_path))
    words = r"cora was not found in .*METACCORD_DATA to a folder that holds graphs/cora\.npz"
    with pytest.raises(DataError, match=words):
        graphs.load("cora")
    with pytest.raises(DataError, match="missing or no regular file"):
        graphs.load(str(tmp_path / "own.npz"))
    with pytest.raises(UsageError, match="did you mean 'coauthor_cs'"):
        graphs.load("coauthor-cs")


def test_another_file_under_a_known_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    path = Path(store(tmp_path)).rename(tmp_path / "graphs" / "cora.npz")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"is not the graph cora: found SHA-256 {found}"):
        graphs.load("cora", tmp_path)
    assert len(graphs.load(str(path)).labels) == 57, "as the user's own it is welcome"


@pytest.mark.skipif(FOLDER is None, reason="needs METACCORD_DATA")
def test_the_folder_is_found_by_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(FOLDER))
    assert graphs.find("cora") == FOLDER / "graphs" / "cora.npz"
