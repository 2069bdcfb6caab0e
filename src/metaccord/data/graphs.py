"""Graphs for node classification: verified npz files, and the user's own in the same layout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.archives import Limits, read_whole
from metaccord.data.cache import cache_folder
from metaccord.data.npz import ArraySpec, unpack_npz
from metaccord.errors import DataError, unknown

FILES = {
    "cora": "61b19e348c7bc8d3f1315130d5827f493e644000bae2f9bc9f651ff89dfa6391",
    "citeseer": "5051f998b297f38813883b892bf7da200caae0fd082d96a332565e3ef8b22a04",
    "cora_ml": "74ef7368f2b5328705b79b729b5314cefa8828626683bf97b4ce952e7364ac11",
    "coauthor_cs": "2e5f462e000f77cf5f261a2a967a2f55eea1422f1ee0e8c7df2d8860b3f045f7",
    "amazon_computers": "f4d7c1f59b0d65a7b21317448751c745d0852019557ec1d6217b8a998c20a040",
    "amazon_photo": "0a53eb14e062f392e6ffd8a66782eca83b39c9a882255cdaa4cdd2a265171d76",
}
"""SHA-256 of the file of each known graph."""

# A column of ones shrinks a thousandfold: here the absolute sizes keep bombs out.
_LIMITS = Limits(64 << 20, members=64, member_bytes=128 << 20, total_bytes=512 << 20, ratio=1100)
_MOST_FEATURES = 1 << 20
_WHOLE = "int32|int64"
_ARRAYS = {
    "adj_indptr": ArraySpec((None,), _WHOLE),
    "adj_indices": ArraySpec((None,), _WHOLE),
    "feat_indptr": ArraySpec((None,), _WHOLE),
    "feat_indices": ArraySpec((None,), "int16|int32|int64"),
    "feat_data": ArraySpec((None,), "float32|float64"),
    "feat_dim": ArraySpec((), "int64"),
    "labels": ArraySpec((None,), "int64"),
}
_NAMES = {"class_names": ArraySpec((None,), "str")}
Integers = NDArray[np.int64]


class Csr(NamedTuple):
    """A sparse matrix by rows: row i has entries ``indptr[i]`` to ``indptr[i + 1]``.

    Attributes:
        indptr: Where rows begin, ``[rows + 1]``, int64.
        indices: Column of each entry, ``[entries]``, int64.
        values: ``[entries]``, float64; entries of one place add up.
        width: Number of columns.
    """

    indptr: Integers
    indices: Integers
    values: NDArray[np.float64]
    width: int


class Graph(NamedTuple):
    """An undirected graph whose nodes have features and classes.

    Attributes:
        name: What it was loaded by.
        indptr: Where the neighbours of each node begin, ``[N + 1]``, int64.
        indices: Neighbours, ascending, ``[2 * edges]``, int64: both directions of each edge, no
            node its own neighbour, none twice.
        features: ``[N, feature_count]``, sparse.
        labels: Class of each node, -1 for none, ``[N]``, int64.
        class_names: ``[C]``.
    """

    name: str
    indptr: Integers
    indices: Integers
    features: Csr
    labels: Integers
    class_names: tuple[str, ...]

    @property
    def feature_count(self) -> int:
        """Number of features of a node."""
        return self.features.width


_HELD: dict[str, Graph] = {}
_MEMORY = "memory:"


def hold(arrays: dict[str, NDArray[Any]]) -> str:
    """Return the name, made of its hash, under which :func:`load` gives a graph in memory.

    Args:
        arrays: As in an npz file, see :func:`load`.

    Raises:
        DataError: if they contradict one another.
    """
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].dtype}{arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    name = f"{_MEMORY}{digest.hexdigest()[:32]}"
    try:
        _HELD.setdefault(name, _graph(name, arrays))
    except ValueError as error:
        raise DataError(f"the graph is refused: {error}; mend the data") from error
    return name


def load(graph: str, place: str | Path | None = None) -> Graph:
    """Return a graph, symmetrised: the union of both directions, without self loops.

    Args:
        graph: A name of ``FILES``, or the path of a user's own npz file with the same arrays:
            ``adj_indptr``, ``adj_indices``; ``feat_indptr``, ``feat_indices``, ``feat_data``,
            ``feat_dim`` (both sparse, by rows); ``labels`` (-1: none); ``class_names``, which
            may be missing.
        place: Folder that holds ``graphs/NAME.npz``; None: METACCORD_DATA, then the cache.

    Raises:
        UsageError: for an unknown name that is no path either.
        DataError: if the file is missing, damaged or another one, or its arrays contradict one
            another.
    """
    if graph.startswith(_MEMORY):
        if graph not in _HELD:
            raise DataError(
                f"the graph {graph} was in the memory of the program that trained: give it again "
                "there with mc.tasks.from_graph"
            )
        return _HELD[graph]
    path = find(graph, place)
    content = read_whole(path, _LIMITS.archive_bytes)
    if graph in FILES:
        found = hashlib.sha256(content).hexdigest()
        if found != FILES[graph]:
            raise DataError(
                f"{path} is not the graph {graph}: found SHA-256 {found}, expected "
                f"{FILES[graph]}; get a fresh copy, or give the path to use it as your own"
            )
    arrays = unpack_npz(content, path, _ARRAYS, _LIMITS, optional=_NAMES)
    try:
        return _graph(graph, arrays)
    except ValueError as error:
        raise DataError(f"graph {path} is refused: {error}; mend the file") from error


def find(graph: str, place: str | Path | None = None) -> Path:
    """Return the file of a graph; nothing is read.

    Args:
        graph: As in ``load``.
        place: As in ``load``.

    Raises:
        UsageError: for an unknown name that is no path either.
        DataError: if it is not there; the message tells what to put where.
    """
    if graph not in FILES:
        if graph.endswith(".npz") or Path(graph).name != graph:
            return Path(graph).expanduser()
        raise unknown("graph", graph, FILES)
    named = place or os.environ.get("METACCORD_DATA")
    folders = [*([Path(named).expanduser()] if named else []), *([] if place else [cache_folder()])]
    for folder in folders:
        if (path := folder / "graphs" / f"{graph}.npz").is_file():
            return path
    raise DataError(
        f"graph {graph} was not found in {', '.join(map(str, folders))}: set METACCORD_DATA to a "
        f"folder that holds graphs/{graph}.npz (SHA-256 {FILES[graph]})"
    )


def _graph(name: str, arrays: dict[str, NDArray[Any]]) -> Graph:
    """Return the graph once its arrays agree.

    Raises:
        ValueError: saying which array breaks which rule.
    """
    labels, width = arrays["labels"].astype(np.int64), int(arrays["feat_dim"])
    nodes = len(labels)
    if nodes < 1:
        raise ValueError("labels is empty: a graph needs at least 1 node")
    if not 1 <= width <= _MOST_FEATURES:
        raise ValueError(f"feat_dim is {width}: it must be in 1 .. {_MOST_FEATURES}")
    values = arrays["feat_data"].astype(np.float64)
    ends, columns = _rows(arrays, "feat", nodes, width)
    if len(values) != len(columns):
        raise ValueError(f"feat_data has {len(values)} entries, feat_indices {len(columns)}")
    if not np.isfinite(values).all():
        raise ValueError("feat_data holds numbers that are not finite")
    if np.abs(values).max(initial=0.0) > np.finfo(np.float32).max / width:
        raise ValueError("feat_data holds numbers too large for float32 sums")
    names = _class_names(arrays, labels)
    if labels.min() < -1 or not 0 <= labels.max() < len(names):
        raise ValueError(
            f"labels are in {labels.min()} .. {labels.max()}: they must be in -1 .. "
            f"{len(names) - 1}, -1 for none, and one node must have one"
        )
    own = _rows(arrays, "adj", nodes, nodes)
    return Graph(name, *_undirected(*own), Csr(ends, columns, values, width), labels, names)


def _rows(
    arrays: dict[str, NDArray[Any]], name: str, rows: int, width: int
) -> tuple[Integers, Integers]:
    """Return ``indptr`` and ``indices`` of a sparse matrix once they agree."""
    ends = arrays[f"{name}_indptr"].astype(np.int64)
    columns = arrays[f"{name}_indices"].astype(np.int64)
    if len(ends) != rows + 1:
        raise ValueError(f"{name}_indptr has {len(ends)} entries, {rows} nodes need {rows + 1}")
    if ends[0] != 0 or ends[-1] != len(columns) or (ends[1:] < ends[:-1]).any():
        raise ValueError(f"{name}_indptr must rise from 0 to {len(columns)}, never falling")
    if len(columns) and (columns.min() < 0 or columns.max() >= width):
        raise ValueError(
            f"{name}_indices are in {columns.min()} .. {columns.max()}: they must be in 0 .. "
            f"{width - 1}"
        )
    return ends, columns


def _undirected(ends: Integers, columns: Integers) -> tuple[Integers, Integers]:
    """Return the union of both directions without self loops and repetitions."""
    nodes = len(ends) - 1
    rows = np.repeat(np.arange(nodes), np.diff(ends))
    both = np.concatenate([rows * nodes + columns, columns * nodes + rows])
    pairs = np.unique(both[np.concatenate([rows != columns] * 2)])
    counts = np.bincount(pairs // nodes, minlength=nodes)
    return np.concatenate([[0], np.cumsum(counts)]), pairs % nodes


def _class_names(arrays: dict[str, NDArray[Any]], labels: Integers) -> tuple[str, ...]:
    """Return the names of the classes; without names their numbers."""
    if "class_names" not in arrays:
        most = int(labels.max())
        if most >= len(labels):
            raise ValueError(f"labels reach {most} in a graph of {len(labels)} nodes")
        return tuple(map(str, range(most + 1)))
    names = arrays["class_names"]
    if (names.view(np.uint32) > 0x10FFFF).any():
        raise ValueError("class_names is no text")
    found = tuple(str(name) for name in names)
    if not all(name.isprintable() for name in found):
        raise ValueError("class_names holds characters that cannot be printed")
    return found
