"""Tasks over a graph in memory, split by classes or by regions."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metaccord.codings.arrays import as_array, label_texts, refuse_infinite, sorted_labels
from metaccord.data import graphs
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.nodes import Nodes
from metaccord.tasks.source import SPLITS
from metaccord.tasks.splits import USUAL, Integers, named
from metaccord.tasks.stream import permutation, words

log = logging.getLogger("metaccord")
_NONE = ("", "-1", "None", "nan")  # labels of nodes without one


def from_graph(
    edges: Any,
    features: Any,
    labels: Any,
    *,
    split_by: Literal["class", "region"] = "class",
    fractions: tuple[float, float, float] = USUAL,
    **settings: Any,
) -> Nodes:
    """Return few-shot node classification over a graph in memory.

    By classes, splits share no class. By regions they share no node: one connected ball of nodes
    is for test, another for validation, the rest for training, so that all classes may be known
    but their surroundings are new; with ``setting="induced"`` no edge between them exists in
    training. (A ball jumps to another place where a component of the graph ends.)

    Args:
        edges: Pairs of nodes, ``[E, 2]`` or ``[2, E]``; both directions count.
        features: ``[N, F]``, an array or a scipy matrix.
        labels: Of each node, ``[N]``; -1, ``""`` or None: none.
        split_by: ``"class"`` or ``"region"``.
        fractions: Of the nodes for training, validation and test, with regions.
        settings: Those of :class:`Nodes`, such as ``ways=2``, and ``split``, ``train``,
            ``validation``, ``test`` for classes.

    Raises:
        UsageError: for settings that fit no task; see :class:`Nodes`.
        DataError: for edges, features or labels that contradict one another.

    Example:
        >>> labels, draw = np.arange(120) % 6, np.random.default_rng(0)
        >>> edges, features = draw.integers(0, 120, (300, 2)), np.eye(6)[labels]
        >>> from_graph(edges, features, labels, shots=3, queries=5).names("train")
        ('0', '1', '2', '3', '4', '5')
    """
    if split_by not in (choices := ("class", "region")):
        raise unknown("split_by", split_by, choices)
    texts = _labels(labels)
    arrays = {**_edges(edges, len(texts)), **_features(features, len(texts))}
    known = [text for text in texts if text not in _NONE]
    if split_by == "class":
        return Nodes(graph=_held(arrays, texts, sorted_labels(known)), **settings)
    if given := [name for name in (*SPLITS, "split") if name in settings]:
        raise UsageError(f"{given[0]} is for classes, and split_by is 'region': use fractions")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"fractions is {fractions}: use three above 0 with the sum 1, {USUAL}")
    plain = graphs.load(_held(arrays, texts, sorted_labels(known)))
    region = regions(plain, fractions, settings.get("split_seed", 0))
    shots = max(settings.get("shots", Nodes.shots), settings.get("train_shots") or 0)
    need = shots + settings.get("queries", Nodes.queries)
    apart = [
        text if text in _NONE else f"{text} ({SPLITS[number]})"
        for text, number in zip(texts, region.tolist(), strict=True)
    ]
    names = sorted({text for text in apart if text not in _NONE})
    few = [name for name in names if apart.count(name) < need]
    if few:
        log.warning("left out, because with fewer than %d nodes: %s", need, named(few))
    apart = ["" if text in few else text for text in apart]
    names = [name for name in names if name not in few]
    lists = {split: tuple(n for n in names if n.endswith(f" ({split})")) for split in SPLITS}
    for split, some in lists.items():
        if len(some) < settings.get("ways", Nodes.ways):
            raise UsageError(
                f"the region for {split} has {len(some)} classes of at least {need} nodes: lower "
                "ways, shots or queries, or change fractions"
            )
    return Nodes(**{**settings, **lists, "graph": _held(arrays, apart, names)})


def regions(graph: graphs.Graph, fractions: tuple[float, float, float], seed: int) -> Integers:
    """Return the split, as a number, of each node: ``[N]``.

    Args:
        graph: Whose nodes.
        fractions: For training, validation and test.
        seed: Of the nodes that balls grow from.
    """
    count = len(graph.labels)
    found = np.zeros(count, np.int64)
    for number in (2, 1):
        starts = permutation(words(seed, "graph/regions", 0, number, count))
        _grow(graph, found, number, round(fractions[number] * count), starts)
    return found


def _grow(graph: graphs.Graph, found: Integers, number: int, size: int, starts: Integers) -> None:
    """Give ``size`` free nodes to a region, breadth first; a new start where none is left."""
    reached: list[int] = []
    seen: set[int] = set()
    free = iter(starts.tolist())
    for place in range(size):
        if place == len(reached):
            start = next(node for node in free if not found[node] and node not in seen)
            reached.append(start)
            seen.add(start)
        node = reached[place]
        found[node] = number
        for other in graph.indices[graph.indptr[node] : graph.indptr[node + 1]].tolist():
            if other not in seen and not found[other]:
                seen.add(other)
                reached.append(other)


def _held(arrays: dict[str, NDArray[Any]], texts: list[str], names: list[str]) -> str:
    """Return the name of the graph with some labels."""
    if len(names) < 2:
        raise DataError(f"labels names {len(names)} classes: a task needs at least 2")
    place = {name: i for i, name in enumerate(names)}
    labels = np.array([place.get(text, -1) for text in texts], np.int64)
    return graphs.hold({**arrays, "labels": labels, "class_names": np.array(names)})


def _labels(labels: Any) -> list[str]:
    raw = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if any(value is None or value != value for value in raw):
        raw = ["" if value is None or value != value else str(value) for value in raw]
    return label_texts(as_array(raw, "labels"), "labels")


def _edges(edges: Any, nodes: int) -> dict[str, NDArray[Any]]:
    raw = as_array(edges, "edges")
    pairs = raw.T if raw.ndim == 2 and raw.shape[0] == 2 != raw.shape[1] else raw
    if pairs.ndim != 2 or pairs.shape[1] != 2 or raw.dtype.kind not in "iu":
        raise DataError(
            f"edges has shape {list(raw.shape)} of {raw.dtype}: give pairs of whole numbers, [E, 2]"
        )
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < nodes:
        raise DataError(
            f"edges name nodes {pairs.min()} .. {pairs.max()}, but there are labels for {nodes}"
        )
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    counts = np.bincount(pairs[:, 0].astype(np.int64), minlength=nodes)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return {"adj_indptr": ends, "adj_indices": pairs[order, 1].astype(np.int64)}


def _features(features: Any, nodes: int) -> dict[str, NDArray[Any]]:
    if hasattr(features, "tocsr"):
        sparse = features.tocsr()
        ends, columns, values = sparse.indptr, sparse.indices, np.asarray(sparse.data)
        shape = sparse.shape
    else:
        dense = as_array(features, "features")
        if dense.ndim != 2 or dense.dtype.kind == "U":
            raise DataError(f"features has shape {list(dense.shape)}: give numbers [N, F]")
        refuse_infinite(dense, "features")
        rows, columns = np.nonzero(dense)
        ends, values = np.searchsorted(rows, np.arange(len(dense) + 1)), dense[rows, columns]
        shape = dense.shape
    if shape[0] != nodes:
        raise DataError(f"features has {shape[0]} rows, but there are labels for {nodes} nodes")
    return {
        "feat_indptr": np.asarray(ends, np.int64),
        "feat_indices": np.asarray(columns, np.int64),
        "feat_data": np.asarray(values, np.float64),
        "feat_dim": np.array(shape[1], np.int64),
    }
