"""Tasks that leak, repeat or contradict themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.tasks import TaskSource
from metaccord.types import Batch, Episode
from tests.doctor.museum.exhibit import (
    FEATURES,
    METHOD,
    WAYS,
    Clusters,
    Exhibit,
    Parts,
    classifier,
    regression,
    seeded,
)


@dataclass(frozen=True, kw_only=True)
class Sorted(Clusters):
    """np.unique numbers the classes of a task in their own order."""

    def chosen(self, split: str, raw: np.ndarray) -> np.ndarray:
        return np.sort(super().chosen(split, raw), axis=1)


@dataclass(frozen=True, kw_only=True)
class Overlapping(Clusters):
    """The query set holds the support set."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        query = tree.join([found.support, found.query], lambda pair: torch.cat(pair, 1))
        return found._replace(query=query)


@dataclass(frozen=True, kw_only=True)
class OneSplit(Clusters):
    """Training and test draw from the same classes."""

    def classes(self, split: str) -> range:
        del split
        return range(10)


@dataclass(frozen=True, kw_only=True)
class Anonymous(Clusters):
    """Splits cut examples instead of classes, and nothing says which class is which."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes("train", step, tasks)
        return found._replace(extra={k: v for k, v in found.extra.items() if k != "classes"})


@dataclass(frozen=True, kw_only=True)
class Fixed(Clusters):
    """Each task has one data set for ever."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        return super().episodes(split, 0, tasks)


@dataclass(frozen=True, kw_only=True)
class Single(Clusters):
    """All tasks are one."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        one = super().episodes(split, step, range(1))
        return tree.mapped(lambda leaf: leaf.expand(len(tasks), *leaf.shape[1:]), one)


@dataclass(frozen=True, kw_only=True)
class Global(Clusters):
    """Episodes from the global generator."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        noise = 0.1 * torch.randn(found.support.inputs.shape)
        return found._replace(support=found.support._replace(inputs=found.support.inputs + noise))


@dataclass(frozen=True, kw_only=True)
class Stepped(Clusters):
    """Labels 0, 2, 4."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        parts = [part._replace(targets=2 * part.targets) for part in (found.support, found.query)]
        return found._replace(support=parts[0], query=parts[1])


@dataclass(frozen=True, kw_only=True)
class Unseen(Clusters):
    """Queries of a class that the support set lacks."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        keep = found.support.inputs.shape[1] * (WAYS - 1) // WAYS
        return found._replace(support=Batch(*(leaf[:, :keep] for leaf in found.support[:2])))


@dataclass(frozen=True, kw_only=True)
class Leaky(Clusters):
    """An input that holds the label."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)

        def with_label(part: Batch) -> Batch:
            hot = torch.nn.functional.one_hot(part.targets, WAYS).float()
            return part._replace(inputs=torch.cat([part.inputs, 3 * hot], -1))

        return found._replace(support=with_label(found.support), query=with_label(found.query))


@dataclass(frozen=True, kw_only=True)
class Memorised(Clusters):
    """The number of a class is always the same."""

    def chosen(self, split: str, raw: np.ndarray) -> np.ndarray:
        own = self.classes(split)
        return np.tile(np.arange(own.start, own.start + WAYS), (len(raw), 1))


class OverTheBatch(nn.Module):
    """Takes the batch for a sequence."""

    def __init__(self, inputs: int = FEATURES, outputs: int = WAYS) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(inputs, 8), nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0])


def trained(tasks: TaskSource, inputs: int = FEATURES) -> nn.Module:
    """A classifier after some meta-training on faulty tasks."""
    model: Any = classifier(inputs=inputs)
    objective = mc.Objective(model, cross_entropy, mc.Plan(chunk="all"))
    outer = mc.Outer(lr=0.05)
    for record in mc.train(METHOD, objective, tasks, steps=40, num_tasks=4, outer=outer):
        final = tree.scope(record.state.params, "model")
    model.load_state_dict(final)
    return model


def clusters(tasks: TaskSource) -> Parts:
    return Parts(classifier(), cross_entropy, tasks)


EXHIBITS = (
    Exhibit(
        "classes numbered in sorted order",
        "sorted_classes",
        "dragen1860/MAML-Pytorch#8",
        lambda: clusters(Sorted()),
    ),
    Exhibit(
        "a network over the batch sees sorted labels",
        "sorted_labels",
        "Luvata/CS330-Stanford-Deep-Multi-Task-and-Meta-Learning#2",
        lambda: Parts(seeded(OverTheBatch), cross_entropy, Clusters()),
    ),
    Exhibit(
        "a network that takes the batch for a sequence",
        "sees_order",
        "megvii-research/DPGN#12",
        lambda: Parts(seeded(lambda: OverTheBatch(3, 1)), mse_loss, regression()),
    ),
    Exhibit(
        "queries that are support examples",
        "overlap",
        "open-mmlab/mmfewshot#72",
        lambda: clusters(Overlapping()),
    ),
    Exhibit(
        "classes in two splits",
        "shared_classes",
        "kjunelee/MetaOptNet#55",
        lambda: clusters(OneSplit()),
    ),
    Exhibit(
        "examples in two splits",
        "shared_examples",
        "chrysts/dsn_fewshot#8",
        lambda: clusters(Anonymous()),
    ),
    Exhibit(
        "a task that always holds the same examples",
        "constant_tasks",
        "tristandeleu/pytorch-meta#69",
        lambda: clusters(Fixed()),
    ),
    Exhibit(
        "one task again and again",
        "constant_tasks",
        "crashmoon/MAML-Pytorch-Multi-GPUs#2",
        lambda: Parts(classifier(), cross_entropy, Single().episodes("train", 0, range(8))),
    ),
    Exhibit(
        "episodes that no seed repeats",
        "random_episodes",
        "mboudiaf/pytorch-meta-dataset#9",
        lambda: clusters(Global()),
    ),
    Exhibit(
        "labels with gaps",
        "label_gap",
        "QueuQ/CGLB#25",
        lambda: Parts(seeded(lambda: nn.Linear(FEATURES, 2 * WAYS)), cross_entropy, Stepped()),
    ),
    Exhibit(
        "a queried class without support",
        "unseen_label",
        "Luvata/CS330-Stanford-Deep-Multi-Task-and-Meta-Learning#3",
        lambda: clusters(Unseen()),
    ),
    Exhibit(
        "accuracy above chance before adaptation: classes keep their numbers",
        "known_before",
        "dragen1860/MAML-Pytorch#8",
        lambda: Parts(trained(Memorised()), cross_entropy, Memorised()),
    ),
    Exhibit(
        "accuracy above chance before adaptation: an input holds the label",
        "known_before",
        "CogComp/saul#112",
        lambda: Parts(trained(Leaky(), FEATURES + WAYS), cross_entropy, Leaky()),
    ),
)
