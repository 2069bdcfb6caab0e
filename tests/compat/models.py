"""Modules that are hard to compute with foreign tensors, in float64, and data for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from metaccord.keys import seeded
from tests.reference.loops import Task

INPUTS, CLASSES, EXAMPLES = 6, 3, 7


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(INPUTS, INPUTS), nn.Linear(INPUTS, INPUTS)
        self.two.weight = self.one.weight
        self.head = nn.Linear(INPUTS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


class Twice(nn.Module):
    """A layer that is called twice, and a method beside ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(INPUTS, INPUTS), nn.Tanh())
        self.head = nn.Linear(INPUTS, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return self.body(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Counting(nn.Module):
    """Buffers that change in a forward pass: one in place, one by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, CLASSES)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.scale = self.scale * 0.5
        return self.layer(x)


class Reading(nn.Module):
    """A recurrent network over the features."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LSTM(1, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x[..., None])[0][:, -1])


class Attending(nn.Module):
    """Self-attention over the features."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(1, 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x[..., None])
        return self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))


class Idle(nn.Module):
    """A parameter that the output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.idle = nn.Linear(INPUTS, CLASSES), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(INPUTS, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, CLASSES, bias=False)
    )


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 4, 2, padding=1),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(48, CLASSES),
    )


def parametrized() -> nn.Module:
    layer = parametrizations.orthogonal(nn.Linear(INPUTS, INPUTS))
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(INPUTS, CLASSES))


def frozen() -> nn.Module:
    model = plain()
    model[0].weight.requires_grad_(False)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "batch norm": normed,
    "convolutions": convolved,
    "tied": Tied,
    "called twice": Twice,
    "buffers": Counting,
    "recurrent": Reading,
    "attention": Attending,
    "parametrized": parametrized,
    "frozen": frozen,
    "unused": Idle,
}


def built(name: str) -> nn.Module:
    with seeded(0):
        return MODELS[name]().double()


def tasks(steps: int, count: int = 2) -> list[Task]:
    """Tasks whose support set is repeated in each step."""
    found = []
    for seed in range(count):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(2, EXAMPLES, INPUTS, dtype=torch.float64, generator=draw)
        y = torch.randint(CLASSES, (2, EXAMPLES), generator=draw)
        found.append(Task([(x[0], y[0])] * steps, (x[1], y[1])))
    return found


def criterion(outputs: Any, targets: Any) -> Tensor:
    return F.cross_entropy(outputs, targets)


def grads_of(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """The gradient of each trainable parameter, 0 where there is none."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, tuple(named.values()), materialize_grads=True)
    return dict(zip(named, found, strict=True))
