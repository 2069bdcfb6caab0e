"""What a graph does to features: sparse operators, and the neighbourhoods of some nodes.

Legend: N nodes, F features, n drawn nodes, m nodes of their common neighbourhood. All float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data.graphs import Csr, Graph, Integers

Floats = NDArray[np.float64]
_BLOCK = 1 << 19  # entries of a dense block


class Edges(NamedTuple):
    """The neighbours of each node.

    Attributes:
        indptr: Where the neighbours of each node begin, ``[N + 1]``.
        indices: Neighbours, ``[2 * edges]``.
    """

    indptr: Integers
    indices: Integers


def entries(indptr: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Return, for all entries of some rows, the row's position in ``rows`` and the entry's place.

    Args:
        indptr: Where rows begin, ``[N + 1]``.
        rows: Rows, perhaps repeated.
    """
    counts = indptr[rows + 1] - indptr[rows]
    position = np.repeat(np.arange(len(rows)), counts)
    inside = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
    return position, indptr[rows][position] + inside


def within(graph: Graph, known: NDArray[np.bool_]) -> Edges:
    """Return the edges between known nodes; the others keep their numbers and lose their edges.

    Args:
        graph: All edges.
        known: Whether a node exists, ``[N]``.
    """
    rows = np.repeat(np.arange(len(known)), np.diff(graph.indptr))
    kept = known[rows] & known[graph.indices]
    counts = np.bincount(rows[kept], minlength=len(known))
    return Edges(np.concatenate([[0], np.cumsum(counts)]), graph.indices[kept])


def symmetric(edges: Edges) -> Csr:
    r"""Return :math:`\tilde D^{-1/2} (A + I) \tilde D^{-1/2}`, the propagation of GCN and SGC."""
    nodes = len(edges.indptr) - 1
    degrees = np.diff(edges.indptr)
    root = np.sqrt(degrees + 1.0)
    rows = np.concatenate([np.repeat(np.arange(nodes), degrees), np.arange(nodes)])
    columns = np.concatenate([edges.indices, np.arange(nodes)])
    order = np.argsort(rows * nodes + columns)
    rows, columns = rows[order], columns[order]
    indptr = edges.indptr + np.arange(nodes + 1)
    return Csr(indptr, columns, 1.0 / (root[rows] * root[columns]), nodes)


def mean(edges: Edges) -> Csr:
    """Return the mean over neighbours, ``D^-1 A``; a node without neighbours has a row of 0."""
    degrees = np.diff(edges.indptr)
    values = 1.0 / np.repeat(degrees, degrees)
    return Csr(edges.indptr, edges.indices, values, len(degrees))


def normalised(features: Csr) -> Csr:
    """Return the features with absolute values that sum to 1 in each row that is not 0."""
    rows = np.repeat(np.arange(len(features.indptr) - 1), np.diff(features.indptr))
    sums = np.bincount(rows, np.abs(features.values), minlength=len(features.indptr) - 1)
    return features._replace(values=features.values / np.where(sums > 0, sums, 1.0)[rows])


def rows_of(matrix: Csr, rows: Integers) -> Floats:
    """Return some rows, dense: ``[len(rows), width]``."""
    position, place = entries(matrix.indptr, rows)
    flat = position * matrix.width + matrix.indices[place]
    size = len(rows) * matrix.width
    sums = np.bincount(flat, matrix.values[place], size).astype(
        np.float64, copy=False
    )  # empty: integers
    return sums.reshape(len(rows), matrix.width)


def rows_of_product(a: Csr, b: Csr, rows: Integers) -> Floats:
    """Return some rows of ``a @ b``, dense: ``[len(rows), b.width]``."""
    position, place = entries(a.indptr, rows)
    which, source = entries(b.indptr, a.indices[place])
    flat = position[which] * b.width + b.indices[source]
    values = a.values[place][which] * b.values[source]
    sums = np.bincount(flat, values, len(rows) * b.width).astype(
        np.float64, copy=False
    )  # empty: integers
    return sums.reshape(len(rows), b.width)


def product(a: Csr, b: Csr) -> Csr:
    """Return ``a @ b``, sparse."""
    size, count = max(1, _BLOCK // b.width), len(a.indptr) - 1
    counts, columns, values = [np.zeros(1, np.int64)], [], []
    for start in range(0, count, size):
        block = rows_of_product(a, b, np.arange(start, min(start + size, count)))
        row, column = np.nonzero(block)
        counts.append(np.bincount(row, minlength=len(block)))
        columns.append(column)
        values.append(block[row, column])
    return Csr(
        np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values), b.width
    )


def around(edges: Edges, nodes: Integers, hops: int) -> tuple[Integers, NDArray[np.int64]]:
    """Return the nodes within ``hops`` steps of some nodes, and the edges into all but the last.

    Args:
        edges: Of the whole graph.
        nodes: Different nodes.
        hops: At least 1.

    Returns:
        The other nodes, ascending, and rows of (source, target), both by their number in the
        graph, ``[edges, 2]``.
    """
    reached = inner = np.sort(nodes)
    pairs = np.zeros((0, 2), np.int64)
    for _ in range(hops):
        inner = reached
        position, place = entries(edges.indptr, inner)
        pairs = np.stack([edges.indices[place], inner[position]], 1)
        reached = np.union1d(inner, pairs[:, 0])
    return np.setdiff1d(reached, nodes), pairs
