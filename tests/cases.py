"""The contract matrix: one line per rule, estimator, preset, interaction and model.

Everything is tiny and drawn from fixed seeds, without touching the global generator.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.estimators import MAML, Estimator, Implicit, MultiStep, Reptile
from metaccord.interactions import (
    Coherence,
    CoLearner,
    GradientAgreement,
    GradientSharing,
    Interaction,
    PCGrad,
    Together,
)
from metaccord.keys import seeded
from metaccord.methods import (
    anil,
    boil,
    fomaml,
    gradient_agreement,
    imaml,
    maml,
    maml_pp,
    meta_sgd,
    reptile,
)
from metaccord.rules import SGD, Adam, InnerRule, MetaSGD, Momentum, PerStep, Proximal
from metaccord.tasks import TaskSource
from metaccord.tasks import stacked as stacked_tasks
from metaccord.tasks.stream import uniforms
from metaccord.types import Batch, Episode, Params, Stacked
from tests.reference.inner import Data, Task

RULES: dict[str, InnerRule] = {
    "sgd": SGD(steps=2, lr=0.1),
    "sgd, mini-batches": SGD(steps=3, lr=0.1, batch=4),
    "sgd, head": SGD(steps=2, lr=0.1, only=("head",)),
    "sgd, clipped": SGD(steps=2, lr=0.1, clip_norm=0.3, clip_value=0.1),
    "momentum": Momentum(steps=3, lr=0.1),
    "meta-sgd": MetaSGD(steps=2, lr=0.1),
    "per step": PerStep(steps=2, lr=0.1),
    "per step, norms": PerStep(steps=2, lr=0.1, never=("batchnorm",), norms=True),
    "proximal": Proximal(steps=2, lr=0.1),
    "proximal, at the end": Proximal(steps=2, lr=0.1, pull="end"),
    "adam": Adam(steps=2, lr=0.05),
    "adam, both moments": Adam(steps=2, lr=0.05, beta1=0.9),
    "adam, persistent": Adam(steps=2, lr=0.05, beta1=0.5, batch=3, persist=True),
}
ESTIMATORS: dict[str, Estimator] = {
    "maml": MAML(),
    "fomaml": MAML(first_order=True),
    "reptile": Reptile(),
    "multi-step": MultiStep(horizon=10, epoch=1),
    "implicit": Implicit(iterations=8),
}
INTERACTIONS: dict[str, Interaction] = {
    "none": Interaction(),
    "agreement": GradientAgreement(),
    "sharing": GradientSharing(),
    "sharing, additive": GradientSharing(mode="additive", per="tensor"),
    "sharing, differentiated": GradientSharing(differentiate=True),
    "coherent": Coherence(),
    "coherent, shifted": Coherence(reading="shift"),
    "coherent, as a loss": Coherence(reading="loss", rate=0.5),
    "coherent, differentiated": Coherence(differentiate=True),
    "cooperative": CoLearner(),
    "pcgrad": PCGrad(),
    "together": Together(parts=(GradientAgreement(), GradientSharing(), CoLearner(), Coherence())),
}
BASES: dict[str, mc.Method] = {
    "maml": maml(steps=2, lr=0.2),
    "fomaml": fomaml(steps=2, lr=0.2),
    "reptile": reptile(steps=3, lr=0.2, batch=4),
    "reptile, adam": reptile(steps=3, lr=0.05, batch=4, inner="adam"),
    "anil": anil(steps=2, lr=0.2),
    "boil": boil(steps=2, lr=0.2),
    "meta_sgd": meta_sgd(steps=2, lr=0.2),
    "maml_pp": maml_pp(steps=2, lr=0.2, horizon=4, epoch=1),
    "imaml": imaml(steps=3, lr=0.1, strength=2.0, iterations=4),
}


def composes(base: str, interaction: str) -> bool:
    """Say whether an interaction has a meaning over a base method."""
    parts = INTERACTIONS[interaction]
    lost = BASES[base].estimator.refuses.keys() & parts.places
    several = parts.parts if isinstance(parts, Together) else (parts,)
    learns = any(part.learns for part in several)
    return not lost and (BASES[base].estimator.takes_query or not learns)


PAIRS = [(i, b) for i in INTERACTIONS for b in BASES if composes(b, i)]
METHODS: dict[str, mc.Method] = {
    k: v for k, v in BASES.items() if k in ("maml", "fomaml", "reptile", "reptile, adam")
}
METHODS |= {f"{name}, agreement": gradient_agreement(base) for name, base in METHODS.items()}


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def _net(*body: nn.Module, head: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(body=nn.Sequential(*body), head=head))


def _pictures(norm: nn.Module) -> nn.Sequential:
    """Convolution without bias (a bias before batch statistics has only rounding as gradient)."""
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    return _net(conv, norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), head=nn.Linear(18, 3))


def _vectors(*middle: nn.Module, bias: bool = True) -> nn.Sequential:
    return _net(nn.Linear(3, 4, bias=bias), *middle, nn.Tanh(), head=nn.Linear(4, 1))


def _frozen() -> nn.Module:
    model = _vectors()
    model.get_submodule("body.0").requires_grad_(False)
    return model


class Model(NamedTuple):
    """A network, and whether it sees pictures (3 classes) or vectors (regression)."""

    build: Callable[[], nn.Module]
    pictures: bool


MODELS: dict[str, Model] = {
    "batchnorm2d": Model(lambda: _pictures(nn.BatchNorm2d(2, track_running_stats=False)), True),
    "instancenorm2d": Model(lambda: _pictures(nn.InstanceNorm2d(2, affine=True)), True),
    "groupnorm": Model(lambda: _pictures(nn.GroupNorm(1, 2)), True),
    "convolution": Model(lambda: _pictures(nn.Identity()), True),
    "batchnorm1d": Model(
        lambda: _vectors(nn.BatchNorm1d(4, track_running_stats=False), bias=False), False
    ),
    "layernorm": Model(lambda: _vectors(nn.LayerNorm(4)), False),
    "plain": Model(lambda: _vectors(), False),
    "tied": Model(Tied, False),
    "frozen": Model(_frozen, False),
}
NORMS = ("batchnorm2d", "instancenorm2d", "groupnorm", "batchnorm1d", "layernorm", "plain")


def module(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    """Build a model of the matrix with weights from a seed; every norm gets a random scale."""
    with seeded(seed):
        found = MODELS[name].build()
        for part in found.modules():
            if "Norm" in type(part).__name__:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.uniform_(part.bias, -0.5, 0.5)
    return found.to(dtype)


def objective(
    name: str, plan: mc.Plan | None = None, dtype: torch.dtype = torch.float64
) -> mc.Objective:
    """Return model and criterion; by default under one ``vmap``."""
    criterion = entropy if MODELS[name].pictures else mse_loss
    return mc.Objective(module(name, dtype), criterion, plan or mc.Plan(chunk="all"))


def even(name: str, count: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> Episode:
    """Return tasks with 6 support and 5 query examples."""
    generator = torch.Generator().manual_seed(seed)
    pictures = MODELS[name].pictures
    shape = (count, 11, 1, 6, 6) if pictures else (count, 11, 3)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = torch.randn(count, 3, 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (count, 11), generator=generator)
    x, y = x.to(dtype), labels if pictures else torch.sin(x @ direction).to(dtype)
    order = torch.randint(0, 2**62, (count,), generator=generator)
    return Episode(Batch(x[:, :6], y[:, :6]), Batch(x[:, 6:], y[:, 6:]), {"order": order})


def step(
    method: mc.Method,
    name: str,
    plan: mc.Plan | None = None,
    *,
    count: int = 4,
    dtype: torch.dtype = torch.float64,
) -> mc.MetaStep:
    """Return one meta-step of a method on a model of the matrix."""
    goal = objective(name, plan, dtype)
    state = mc.initialise(method, goal)
    return mc.meta_gradient(method, goal, state, episodes(name, count, dtype))


episodes = even


def uneven(name: str, count: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> Episode:
    """Return the same tasks of other sizes, and ways for pictures; NaN and -7 are the padding."""
    found = even(name, count, dtype, seed)
    support, query = (torch.tensor((sizes * count)[:count]) for sizes in ([4, 6, 3, 4], [5, 2, 4]))
    ways = torch.tensor(([2, 3, 3, 2] * count)[:count]) if MODELS[name].pictures else ()

    def spoilt(batch: Batch, sizes: Tensor) -> Batch:
        targets = batch.targets
        if isinstance(ways, Tensor):
            targets = targets % ways[:, None]
        for leaf in (batch.inputs, targets):
            for row, size in zip(leaf, sizes, strict=True):
                row[size:] = torch.nan if leaf.is_floating_point() else -7
        return Batch(batch.inputs, targets, sizes, ways)

    return found._replace(support=spoilt(found.support, support), query=spoilt(found.query, query))


def twin_tasks(method: mc.Method, found: Episode) -> list[Task]:
    """Hand the twin the mini-batches that the rule cuts, task by task, of true examples alone."""
    rule, arranged = method.rule, method.rule.arranged(found)
    parts = [rule.part(arranged.support, k) for k in range(rule.steps)]
    return [
        Task([by_hand(part, task) for part in parts], by_hand(found.query, task))
        for task in range(tree.tasks_in(found))
    ]


def by_hand(batch: Batch, task: int) -> Data:
    """Return inputs and targets of one task, sliced; with ways, targets are a pair."""
    inputs, targets, sizes, ways = tree.unbind(tuple(batch))[task]
    if isinstance(sizes, Tensor):
        inputs, targets = tree.mapped(lambda leaf: leaf[: sizes.item()], (inputs, targets))
    return (inputs, (targets, ways.item()) if isinstance(ways, Tensor) else targets)


def entropy(outputs: Tensor, targets: Any) -> Tensor:
    """Cross entropy; a twin's targets may be a pair of labels and ways."""
    labels, ways = targets if isinstance(targets, tuple) else (targets, outputs.shape[1])
    return cross_entropy(outputs[:, :ways], labels)


def model_rows(rows: Stacked) -> Stacked:
    """Return the rows of the model's tensors, without prefix."""
    return tree.scope(rows, "model")


def stacked(rows: list[Params]) -> Stacked:
    """Return a twin's list of rows as ``[T, ...]``."""
    return tree.join(rows, torch.stack)


@dataclass(frozen=True, kw_only=True)
class Blobs(TaskSource):
    """Tell three noisy pictures of 6x6 apart; a source of episodes with classes and pictures."""

    classifies: ClassVar[bool] = True
    shots: int = 2
    queries: int = 3

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return tasks with the classes in turn."""
        each = self.support_shots(split) + self.queries
        raw = self.draws(split, step, tasks, 2 + 3 * 36 * (1 + each))
        unit = uniforms(raw[:, 2:]).reshape(len(tasks), 3, 1 + each, 1, 6, 6)
        pictures = torch.from_numpy(np.ascontiguousarray(unit[:, :, :1] + unit[:, :, 1:])).float()
        labels = torch.arange(3).repeat(len(tasks), 1)

        def batch(chosen: Tensor) -> Batch:
            number = chosen.shape[2]
            return Batch(chosen.flatten(1, 2), labels.repeat_interleave(number, 1))

        shots = self.support_shots(split)
        return Episode(batch(pictures[:, :, :shots]), batch(pictures[:, :, shots:]), self.keys(raw))


@dataclass(frozen=True, kw_only=True)
class Ragged(Blobs):
    """The same pictures in float64, two or three classes a task and another number of each."""

    shots: int = 3

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return tasks from which something was taken away."""
        whole = super().episodes(split, step, tasks)
        found, ways = [], [2 + (task + step) % 2 for task in tasks]
        for task, count, one in zip(tasks, ways, tree.unbind(whole), strict=True):
            batches = []
            for batch in one[:2]:
                own = batch.targets < count
                x, y = batch.inputs[own].double(), batch.targets[own]
                batches.append(Batch(x[task % 3 :], y[task % 3 :]))
            found.append(Episode(*batches, one.extra))
        return stacked_tasks(found, ways)


@dataclass(frozen=True, kw_only=True)
class Sines(mc.tasks.Sinusoid):
    """Sine waves in float64."""

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the same tasks, widened."""
        found = super().episodes(split, step, tasks)
        return tree.mapped(lambda t: t.double() if t.is_floating_point() else t, found)


def bits(tensors: Any) -> list[Tensor]:
    """Return copies of all tensors of a tree, to compare bit by bit."""
    found: list[Tensor] = []
    tree.mapped(lambda leaf: found.append(leaf.detach().clone()), tensors)
    return found


def same_bits(a: Any, b: Any) -> bool:
    """Say whether two trees hold identical tensors; NaN equals nothing."""
    left, right = bits(a), bits(b)
    return len(left) == len(right) and all(map(torch.equal, left, right))
