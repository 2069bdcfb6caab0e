"""What an exhibit is, and the sound parts that exhibits put their one fault into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord.tasks import TaskSource
from metaccord.tasks.stream import uniforms
from metaccord.types import Batch, Episode

WAYS, CLASSES, FEATURES = 3, 30, 6
METHOD = mc.methods.maml(steps=2, lr=0.1)


class Parts(NamedTuple):
    """The arguments of ``check``."""

    model: nn.Module
    criterion: Callable[[Any, Any], Tensor]
    tasks: TaskSource | Episode
    method: mc.Method = METHOD


class Exhibit(NamedTuple):
    """A seeded fault.

    Attributes:
        name: In words.
        code: What the doctor must call it.
        thread: Issue or pull request where people met it, or a fault of its kind.
        build: Makes the arguments of ``check``.
    """

    name: str
    code: str
    thread: str
    build: Callable[[], Parts]


@dataclass(frozen=True, kw_only=True)
class Clusters(TaskSource):
    """Tell noisy points around three of thirty centres apart; classes are numbered anew."""

    classifies: ClassVar[bool] = True
    shots: int = 3
    queries: int = 4

    def classes(self, split: str) -> range:
        """The classes of a split."""
        third = CLASSES // 3
        start = third * ("train", "validation", "test").index(split)
        return range(start, start + third)

    def chosen(self, split: str, raw: np.ndarray) -> np.ndarray:
        """Classes of each task, in random order: ``[T, ways]``."""
        own = self.classes(split)
        order = np.argsort(raw[:, 2 : 2 + len(own)], axis=1, kind="stable")
        return own.start + order[:, :WAYS]

    def points(self, split: str, step: int, tasks: range) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Return points ``[T, ways, n, features]``, labels ``[T, ways, n]``, classes, raw words."""
        each = self.shots + self.queries
        most = 2 + CLASSES
        raw = self.draws(split, step, tasks, most + WAYS * each * FEATURES)
        classes = torch.from_numpy(self.chosen(split, raw))
        noise = torch.from_numpy(uniforms(raw[:, most:])).view(len(tasks), WAYS, each, FEATURES)
        centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(5))
        labels = torch.arange(WAYS).view(1, WAYS, 1).expand(len(tasks), WAYS, each)
        return centres[classes][:, :, None] + noise.float() - 0.5, labels, classes, raw

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        x, y, classes, raw = self.points(split, step, tasks)
        support = Batch(x[:, :, : self.shots].flatten(1, 2), y[:, :, : self.shots].flatten(1))
        query = Batch(x[:, :, self.shots :].flatten(1, 2), y[:, :, self.shots :].flatten(1))
        return Episode(support, query, {**self.keys(raw), "classes": classes})


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def classifier(*middle: nn.Module, inputs: int = FEATURES) -> nn.Module:
    """A small smooth classifier with something in its middle."""
    return seeded(
        lambda: nn.Sequential(nn.Linear(inputs, 8), *middle, nn.Tanh(), nn.Linear(8, WAYS))
    )


def regression(count: int = 16, shape: tuple[int, ...] = (3,)) -> Episode:
    """Tasks that regress a smooth function of random inputs ``[n, *shape]``."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, 10, *shape, generator=generator)
    slopes = torch.randn(count, 1, 1, generator=generator)
    y = torch.sin(x.flatten(2).mean(2, keepdim=True) * 2 + slopes)
    return Episode(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))
