"""Drawn nodes as tensors of a model: propagated features, or a neighbourhood shared out.

Legend: T tasks, n drawn nodes of each, F features, q rows of each node's share of the
neighbourhood. A batch's neighbourhood holds each node once, whoever asks for it: a copy for each
neighbour would be several times larger, and the degree of a hub would be everybody's padding.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaccord.data import graphs
from metaccord.data.graphs import Csr, Graph, Integers
from metaccord.tasks import propagation
from metaccord.tasks.propagation import Edges, Floats, entries, rows_of, rows_of_product

Arrays = dict[str, NDArray[Any]]


class Known(NamedTuple):
    """The part of a graph that exists.

    Attributes:
        graph: Name or path.
        place: Folder of the graphs.
        classes: Edges among nodes of these classes exist; None: all edges.
        normalise: ``"length"``, ``"sum"`` or ``"none"``; see :class:`metaccord.tasks.Nodes`.
    """

    graph: str
    place: str | None
    classes: tuple[int, ...] | None
    normalise: str

    def edges(self) -> Edges:
        """Return the edges that exist."""
        return _edges(self._replace(normalise="none"))

    def features(self) -> Csr:
        """Return the features before any propagation, ``[N, F]``."""
        return _features(self._replace(classes=None))

    def operator(self, form: str) -> Csr:
        """Return the propagation of a form, ``[N, N]``."""
        return _operator(self._replace(normalise="none"), form == "sage")

    def propagated(self, form: str, hops: int) -> Csr:
        """Return the features after some propagations, ``[N, F]``."""
        if not hops:
            return self.features()
        before = "sum" if self.normalise == "sum" else "none"
        return _propagated(self._replace(normalise=before), form == "sage", hops)


def arranged(known: Known, nodes: Integers, form: str, hops: int, dtype: np.dtype[Any]) -> Arrays:
    """Return the inputs of a model; see :class:`metaccord.tasks.Nodes` for their shapes.

    Args:
        known: The graph.
        nodes: Drawn nodes, different within a task, ``[T, n]``.
        form: ``"propagated"``, ``"gcn"``, ``"sage"`` or ``"subgraph"``.
        hops: Propagations or steps.
        dtype: Of the features.
    """
    if form == "propagated":
        return {"features": _scaled(_finished(known, nodes, hops), known).astype(dtype)}
    steps = hops if form == "subgraph" else 1
    found = [propagation.around(known.edges(), own, steps) for own in nodes]
    count = nodes.shape[1]
    share = 1 + -(-max(len(others) for others, _ in found) // count)
    places = [_places(own, others, share) for own, (others, _) in zip(nodes, found, strict=True)]
    inputs = {
        "features": _table(known, nodes, [others for others, _ in found], form, share, dtype),
        "place": np.tile(np.eye(count, dtype=np.uint8), (len(nodes), 1, 1)),
    }
    size = len(known.edges().indptr) - 1
    if form == "subgraph":
        inputs["edges"] = _pairs([pairs for _, pairs in found], places, count, size)
    else:
        inputs["weights"] = _weights(known.operator(form), nodes, places, share).astype(dtype)
    return inputs


class _Places(NamedTuple):
    """Where in the shares of a batch, read flat, each node of its neighbourhood is."""

    nodes: Integers
    flat: Integers

    def of(self, wanted: Integers, size: int) -> Integers:
        """Return the flat places of nodes, by their number in the graph of ``size`` nodes."""
        table = np.empty(size, np.int64)
        table[self.nodes] = self.flat
        return table[wanted]


def _places(own: Integers, others: Integers, share: int) -> _Places:
    """Return the places: each drawn node first in its share, the others behind, in order."""
    room = max(1, share - 1)
    number = np.arange(len(others))
    behind = number // room * share + 1 + number % room
    return _Places(
        np.concatenate([own, others]), np.concatenate([np.arange(len(own)) * share, behind])
    )


def _table(
    known: Known,
    nodes: Integers,
    others: list[Integers],
    form: str,
    share: int,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return the features of the neighbourhoods: ``[T, n, share, F]``."""
    sources = {
        "gcn": [known.propagated(form, 1)],
        "sage": [known.features(), known.propagated(form, 1)],
        "subgraph": [known.features()],
    }[form]
    tasks, count = nodes.shape
    table = np.zeros((tasks, count * share, sum(source.width for source in sources)), dtype)
    for task in range(tasks):
        wanted, flat = _places(nodes[task], others[task], share)
        start = 0
        for source in sources:
            rows = _scaled(rows_of(source, wanted), known)
            table[task, flat, start : start + source.width] = rows
            start += source.width
    return table.reshape(tasks, count, share, -1)


def _weights(operator: Csr, nodes: Integers, places: list[_Places], share: int) -> Floats:
    """Return each drawn node's row of the operator, over its batch: ``[T, n, n * share]``."""
    tasks, count = nodes.shape
    weights = np.zeros((tasks, count, count * share))
    for task in range(tasks):
        row, entry = entries(operator.indptr, nodes[task])
        column = places[task].of(operator.indices[entry], operator.width)
        weights[task, row, column] = operator.values[entry]
    return weights


def _pairs(found: list[Integers], places: list[_Places], count: int, size: int) -> Integers:
    """Return edges as flat places, shared out among the examples: ``[T, n, e, 2]``."""
    most = max(1, -(-max(map(len, found)) // count))
    edges = np.full((len(found), count * most, 2), -1, np.int64)
    for task, pairs in enumerate(found):
        edges[task, : len(pairs)] = places[task].of(pairs, size)
    return edges.reshape(len(found), count, most, 2)


def _finished(known: Known, nodes: Integers, hops: int) -> Floats:
    """Return the features of drawn nodes after all propagations: ``[T, n, F]``."""
    flat = nodes.reshape(-1)
    if hops == 0:
        rows = rows_of(known.features(), flat)
    else:
        before = known.propagated("propagated", hops - 1)
        rows = rows_of_product(known.operator("propagated"), before, flat)
    return rows.reshape(*nodes.shape, -1)


def _scaled(rows: Floats, known: Known) -> Floats:
    """Return rows of length 1 if that is asked for; rows of 0 stay."""
    if known.normalise != "length":
        return rows
    length = np.sqrt(np.einsum("...i,...i->...", rows, rows))[..., None]
    rows /= np.where(length > 0, length, 1.0)
    return rows


@lru_cache(maxsize=4)
def loaded(name: str, place: str | None) -> Graph:
    """Return a graph, read and verified once per process."""
    return graphs.load(name, place)


@lru_cache(maxsize=4)
def digest(name: str, place: str | None) -> bytes:
    """Return the SHA-256 of a graph: edges, features, labels and names of classes."""
    graph = loaded(name, place)
    found = hashlib.sha256(repr((graph.class_names, graph.feature_count)).encode())
    arrays = (graph.indptr, graph.indices, *graph.features[:3], graph.labels)
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.digest()


@lru_cache(maxsize=8)
def _edges(known: Known) -> Edges:
    data = loaded(known.graph, known.place)
    if known.classes is None:
        return Edges(data.indptr, data.indices)
    return propagation.within(data, np.isin(data.labels, known.classes))


@lru_cache(maxsize=4)
def _features(known: Known) -> Csr:
    features = loaded(known.graph, known.place).features
    return propagation.normalised(features) if known.normalise == "sum" else features


@lru_cache(maxsize=8)
def _operator(known: Known, averages: bool) -> Csr:
    return (propagation.mean if averages else propagation.symmetric)(known.edges())


@lru_cache(maxsize=6)
def _propagated(known: Known, averages: bool, hops: int) -> Csr:
    form = "sage" if averages else "gcn"
    return propagation.product(known.operator(form), known.propagated(form, hops - 1))
