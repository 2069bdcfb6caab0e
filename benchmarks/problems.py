"""The problems that every contestant solves: a model, a criterion and the data of T tasks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

import metaccord as mc

WAYS, QUERIES = 5, 15


@dataclass(frozen=True)
class Problem:
    """One second-order MAML meta-step, in no library's words.

    Args:
        name: Word on the command line.
        model: Starting weights; contestants work on copies.
        criterion: Mean-reduced loss.
        episodes: Data of T tasks, ``[T, n, ...]``.
        steps: Inner steps.
        lr: Inner step size.
        rounds: Timed calls of each contestant.
        large: Graphs of all tasks together would fill the memory of a small machine.
    """

    name: str
    model: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor]
    episodes: mc.Episode
    steps: int
    lr: float
    rounds: int
    large: bool = False

    @property
    def count(self) -> int:
        """Number of tasks."""
        return len(self.episodes.query.inputs)

    @property
    def text(self) -> str:
        """The sizes, for people."""
        support, query = self.episodes.support.inputs, self.episodes.query.inputs
        return (
            f"{self.count} tasks, support {list(support.shape[1:])}, query "
            f"{list(query.shape[1:])}, {self.steps} inner steps, lr {self.lr}"
        )

    def tasks(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return support inputs and targets, query inputs and targets of each task."""
        support, query = self.episodes.support, self.episodes.query
        leaves = (support.inputs, support.targets, query.inputs, query.targets)
        return list(zip(*(leaf.unbind() for leaf in leaves), strict=True))

    def copied(self) -> nn.Module:
        """Return the model with weights of its own."""
        return copy.deepcopy(self.model)

    def to(self, device: str) -> Problem:
        """Return the problem on another device."""
        return self._mapped(lambda leaf: leaf.to(device), self.copied().to(device))

    def double(self, tasks: int) -> Problem:
        """Return the first few tasks in float64."""

        def convert(leaf: Tensor) -> Tensor:
            return leaf[:tasks].double() if leaf.is_floating_point() else leaf[:tasks]

        return self._mapped(convert, self.copied().double())

    def _mapped(self, fn: Callable[[Tensor], Tensor], model: nn.Module) -> Problem:
        support, query = (mc.Batch(*map(fn, batch[:2])) for batch in self.episodes[:2])
        return replace(self, model=model, episodes=mc.Episode(support, query))


def sine(quick: bool) -> Problem:
    """Regress sine waves with the small network of the MAML paper."""
    tasks = mc.tasks.Sinusoid(inputs="uniform", shots=10, queries=10)
    episodes = tasks.episodes("train", 0, range(3 if quick else 25))._replace(extra={})
    model = mc.models.MLP(1, (40, 40), 1)
    steps, rounds = (2, 3) if quick else (5, 50)
    return Problem("sine", model, mc.losses.mse, episodes, steps, 0.01, rounds)


def conv28(quick: bool, downsample: Literal["stride", "pool"] = "stride") -> Problem:
    """Classify 28x28 pictures, 5-way 1-shot, with one inner step."""
    model = mc.models.Conv4(WAYS, hidden=4 if quick else 64, downsample=downsample)
    episodes = pictures(tasks=2 if quick else 16, shots=1, channels=1, size=28)
    name = "conv28" if downsample == "stride" else "conv28-pool"
    rounds = 2 if quick else 15
    return Problem(name, model, mc.losses.cross_entropy, episodes, 1, 0.1, rounds)


def conv28_pool(quick: bool) -> Problem:
    """Run the same with stride 1 and max-pooling, which makes the maps larger."""
    return conv28(quick, "pool")


def conv84(quick: bool) -> Problem:
    """Classify 84x84x3 pictures, 5-way 5-shot, with five inner steps."""
    steps, tasks, rounds = (2, 2, 2) if quick else (5, 4, 5)
    return eighty_four("conv84", quick, steps=steps, tasks=tasks, rounds=rounds)


def memory(quick: bool) -> Problem:
    """Take twenty inner steps on one task of the same pictures."""
    return eighty_four("memory", quick, steps=3 if quick else 20, tasks=1, rounds=2 if quick else 3)


def eighty_four(name: str, quick: bool, *, steps: int, tasks: int, rounds: int) -> Problem:
    hidden, size = (4, 28) if quick else (32, 84)
    model = mc.models.Conv4(
        WAYS, channels=3, hidden=hidden, size=size, downsample="pool", spatial="flatten"
    )
    episodes = pictures(tasks=tasks, shots=5, channels=3, size=size)
    return Problem(name, model, mc.losses.cross_entropy, episodes, steps, 0.01, rounds, not quick)


def pictures(*, tasks: int, shots: int, channels: int, size: int) -> mc.Episode:
    """Draw one picture per class and noise around it; labels are balanced."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(tasks, WAYS, 1, channels, size, size, generator=generator)

    def batch(each: int) -> mc.Batch:
        noise = torch.randn(tasks, WAYS, each, channels, size, size, generator=generator)
        labels = torch.arange(WAYS).repeat_interleave(each).expand(tasks, -1).contiguous()
        return mc.Batch((classes + noise).flatten(1, 2), labels)

    return mc.Episode(batch(shots), batch(QUERIES))
