"""Few-shot node classification: classes of nodes of one graph, N-way K-shot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from metaccord.data.graphs import Integers
from metaccord.errors import UsageError, unknown
from metaccord.tasks.neighbourhoods import Known, arranged, digest, loaded
from metaccord.tasks.source import SPLITS, TaskSource
from metaccord.tasks.splits import Division, divide
from metaccord.tasks.stream import permutation, words
from metaccord.types import Batch, Episode

_FORMS = ("propagated", "gcn", "sage", "subgraph")
_MOST_HOPS = 4


@dataclass(frozen=True, kw_only=True)
class Nodes(TaskSource):
    """Tell ``ways`` classes of nodes apart after ``shots`` labelled nodes of each.

    Splits share no class. Nodes without a label are never drawn, but are there as neighbours.

    Args:
        graph: A name of ``metaccord.data.graphs.FILES``, or the path of an npz file of that layout.
        ways: Classes of one task.
        shots, queries, train_shots: Nodes per class; see :class:`metaccord.tasks.TaskSource`.
        split: Numbers of classes for training, validation and test; None: a third, rounded down,
            for validation and for test, the rest for training.
        split_seed: Of the draw of these classes.
        train, validation, test: Names of classes for a split, instead of ``split``; what no list
            names is drawn among the splits without a list.
        setting: What exists during meta-training. ``"transductive"``: the whole graph, only
            labels are held back; ``"induced"``: for training the edges among nodes of training
            classes, for validation those among nodes of training and validation classes, for
            test all.
        form: What the model needs. ``"propagated"``: features after ``hops`` propagations,
            each node by itself (SGC, MLP); ``"gcn"``, ``"sage"``: the first of two layers'
            propagations done, and the rows of the second; ``"subgraph"``: all nodes within
            ``hops`` steps (torch-geometric).
        hops: Propagations, or steps: as many as the network has layers, one more where layers
            look at degrees (GCNConv).
        normalise: ``"length"``: features are scaled to length 1 as they are given, after the
            propagations done beforehand; ``"sum"``: the features of each node are divided by
            the sum of their absolute values, before them, as published for GCN; ``"none"``.
        dtype: Type of the features.
        root: Folder with ``graphs/NAME.npz``; None: METACCORD_DATA, then the user's cache.
        seed: Names the stream of episodes.

    Shape:
        targets [T, n] int64, n = ways * shots or ways * queries, class by class;
        ``extra["classes"]`` [T, ways] int64: the graph's classes, by label. Inputs are a dict:
        ``features`` [T, n, F]; or, for a neighbourhood of at most n * q nodes,

        - ``features`` [T, n, q, F] (``"sage"``: 2 F): the neighbourhood, shared out among the
          examples: first each one's own row, then others, then 0;
        - ``place`` [T, n, n]: the identity, by which a model notices another order;
        - ``weights`` [T, n, n * q]: each example's row of the second propagation; or for
          ``"subgraph"`` ``edges`` [T, n, e, 2]: pairs (source, target) of places in n * q, then
          -1.

        Such a batch may be permuted, not cut. The padding depends on the tasks asked for
        together, what it pads does not.

    Raises:
        UsageError: for more ways than classes, or a class with too few nodes.
        DataError: if the graph is missing or damaged.
    Reference:
        Kipf, Welling, ICLR 2017; Wu et al., Simplifying Graph Convolutional Networks, ICML 2019;
        Hamilton, Ying, Leskovec, NeurIPS 2017.
    Differs:
        Neighbourhoods are whole, none is sampled. Rows of length 1 are our choice: rows that
        sum to 1 are so short that a few inner steps hardly move the outputs.
    """

    graph: str = "coauthor_cs"
    ways: int = 2
    shots: int = 3
    queries: int = 10
    split: tuple[int, int, int] | None = None
    split_seed: int = 0
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    setting: Literal["transductive", "induced"] = "transductive"
    form: Literal["propagated", "gcn", "sage", "subgraph"] = "propagated"
    hops: int = 2
    normalise: Literal["length", "sum", "none"] = "length"
    dtype: Literal["float32", "float64"] = "float32"
    root: str | None = None
    classifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("setting", ("transductive", "induced")),
            ("form", _FORMS),
            ("dtype", ("float32", "float64")),
            ("normalise", ("length", "sum", "none")),
        ):
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"tasks.{name} is {getattr(self, name)!r}: choose from {', '.join(choices)}"
                )
        least = 1 if self.form == "subgraph" else 0
        if not least <= self.hops <= _MOST_HOPS:
            raise UsageError(f"tasks.hops is {self.hops}: it must be in {least} .. {_MOST_HOPS}")
        if self.form in ("gcn", "sage") and self.hops != 2:
            raise UsageError(
                f"tasks.hops is {self.hops}, but tasks.form={self.form} is for two layers: use 2"
            )
        if self.ways < 2:
            raise UsageError(f"tasks.ways is {self.ways}: a task needs at least 2 classes")
        self._check_classes()

    def _check_classes(self) -> None:
        """Refuse splits that do not fit the graph, and classes with too few nodes."""
        data = loaded(self.graph, self.place)
        total, counts = len(data.class_names), self._counts()
        if not self._lists() and (min(counts) < 1 or sum(counts) > total):
            raise UsageError(
                f"tasks.split is {counts}: graph {self.graph} has {total} classes, give each split "
                "at least 1 and all together no more"
            )
        for split in SPLITS:
            need = self.support_shots(split) + self.queries
            for label in self.classes(split):
                if (found := int((data.labels == label).sum())) < need:
                    raise UsageError(
                        f"class {data.class_names[label]!r} of graph {self.graph} has {found} "
                        f"labelled nodes, tasks.shots + tasks.queries is {need}: lower one of them"
                    )
            if self.ways > (count := len(self.classes(split))):
                raise UsageError(
                    f"tasks.ways is {self.ways}, but the {split} split of graph {self.graph} has "
                    f"{count} classes: lower tasks.ways or set tasks.split"
                )

    def _lists(self) -> bool:
        return bool(self.train or self.validation or self.test)

    def _counts(self) -> tuple[int, int, int]:
        total = len(loaded(self.graph, self.place).class_names)
        return self.split or (total - 2 * (total // 3), total // 3, total // 3)

    @property
    def place(self) -> str | None:
        """Where the graphs are looked for: ``root``, else METACCORD_DATA, else the cache."""
        return self.root or os.environ.get("METACCORD_DATA")

    @property
    def features(self) -> int:
        """Features of a node: what a model is constructed with."""
        return loaded(self.graph, self.place).feature_count

    def classes(self, split: str) -> Integers:
        """Return the graph's classes that belong to a split, ascending."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        data = loaded(self.graph, self.place)
        if self._lists():
            lists = (self.train, self.validation, self.test)
            return divide(data.class_names, Division(None, self.split_seed, *lists), "class")[split]
        ends, total = np.cumsum((0, *self._counts())), len(data.class_names)
        order = permutation(words(self.split_seed, "nodes/classes", 0, 0, total))
        number = SPLITS.index(split)
        return np.sort(order[ends[number] : ends[number + 1]])

    def names(self, split: str) -> tuple[str, ...]:
        """Return the names of the graph's classes; see the base class."""
        super().names(split)
        return loaded(self.graph, self.place).class_names

    def known(self, split: str) -> Known:
        """Return which part of the graph exists in a split, in the declared setting."""
        seen = SPLITS[: SPLITS.index(split) + 1]
        whole = self.setting == "transductive" or split == "test"
        classes = None if whole else tuple(int(c) for s in seen for c in self.classes(s))
        return Known(self.graph, self.place, classes, self.normalise)

    def nodes(self, split: str, step: int, tasks: range) -> tuple[Integers, Integers]:
        """Return what is drawn: nodes ``[T, ways, shots + queries]`` and classes ``[T, ways]``."""
        raw = self.draws(split, step, tasks, self._words(split))
        return self._nodes(split, raw)

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return N-way K-shot tasks; see the base class."""
        raw = self.draws(split, step, tasks, self._words(split))
        drawn, classes = self._nodes(split, raw)
        shots = self.support_shots(split)
        support = self._batch(split, drawn[..., :shots])
        query = self._batch(split, drawn[..., shots:])
        extra = {**self.keys(raw), "classes": torch.from_numpy(classes)}
        return Episode(support, query, extra)

    def content(self, episodes: Episode) -> dict[str, Batch | dict[str, Tensor]]:
        """Return the tasks; for a neighbourhood, whose padding varies, own rows and the graph."""
        found = super().content(episodes)
        if self.form == "propagated":
            return found
        own = {
            name: {"own": part.inputs["features"][:, :, 0], "targets": part.targets}
            for name, part in (("support", episodes.support), ("query", episodes.query))
        }
        graph = torch.tensor([*digest(self.graph, self.place)], dtype=torch.uint8)
        whole = {"graph": graph.expand(len(episodes.query.targets), -1)}
        return {**found, **own, "whole": whole}

    def _words(self, split: str) -> int:
        members = _members(self.graph, self.place)
        classes = self.classes(split) if split in SPLITS else self.classes("train")
        return 2 + len(classes) + self.ways * max(len(members[c]) for c in classes)

    def _nodes(self, split: str, raw: np.ndarray) -> tuple[Integers, Integers]:
        classes, members = self.classes(split), _members(self.graph, self.place)
        order = np.argsort(raw[:, 2 : 2 + len(classes)], axis=1, kind="stable")
        picked = classes[order[:, : self.ways]]  # [T, ways]
        own = raw[:, 2 + len(classes) :].reshape(len(raw), self.ways, -1)
        need = self.support_shots(split) + self.queries
        drawn = np.empty((*picked.shape, need), np.int64)
        for task, way in np.ndindex(*picked.shape):
            nodes = members[picked[task, way]]
            drawn[task, way] = nodes[permutation(own[task, way, : len(nodes)])[:need]]
        return drawn, picked

    def _batch(self, split: str, drawn: Integers) -> Batch:
        """Return nodes ``[T, ways, number]`` as a batch, class by class."""
        count, ways, number = drawn.shape
        nodes = drawn.reshape(count, -1)
        inputs = arranged(self.known(split), nodes, self.form, self.hops, np.dtype(self.dtype))
        labels = torch.arange(ways).repeat_interleave(number)
        tensors: dict[str, Tensor] = {k: torch.from_numpy(v) for k, v in inputs.items()}
        return Batch(tensors, labels.expand(count, -1).contiguous())


@lru_cache(maxsize=4)
def _members(name: str, place: str | None) -> tuple[Integers, ...]:
    """Return the nodes of each class."""
    data = loaded(name, place)
    return tuple(np.flatnonzero(data.labels == label) for label in range(len(data.class_names)))
