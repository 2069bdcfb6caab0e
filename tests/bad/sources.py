"""Sources of tasks, models and criteria written by a user, each with one planted defect."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metaccord.tasks import TaskSource
from metaccord.types import Batch, Episode

Change = Callable[[Episode, int], Any]


@dataclass(frozen=True, kw_only=True)
class Source(TaskSource):
    """Six points of a line per task, and something wrong with them from some step on."""

    change: Change = lambda episode, step: episode

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        """Return the changed episodes."""
        x = torch.linspace(-1, 1, 6)[None, :, None].expand(len(tasks), -1, -1).contiguous()
        keys = {name: torch.arange(len(tasks)) for name in ("order", "dropout")}
        return self.change(Episode(Batch(x, 2 * x), Batch(x, x + 1), keys), step)


def support(fn: Callable[[Batch], Batch]) -> Change:
    """Change the support sets."""
    return lambda episode, step: episode._replace(support=fn(episode.support))


def query(fn: Callable[[Batch], Batch]) -> Change:
    """Change the query sets."""
    return lambda episode, step: episode._replace(query=fn(episode.query))


def inputs(fn: Callable[[Tensor], Any]) -> Change:
    """Change the inputs of the support sets."""
    return support(lambda batch: batch._replace(inputs=fn(batch.inputs)))


def targets(fn: Callable[[Tensor], Any]) -> Change:
    """Change the targets of the support sets."""
    return support(lambda batch: batch._replace(targets=fn(batch.targets)))


def put(value: float) -> Callable[[Tensor], Tensor]:
    """Put a value into one entry of the second task."""

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[1, 2] = value
        return tensor

    return change


def late(change: Change) -> Change:
    """Do it from step 1 on only."""
    return lambda episode, step: change(episode, step) if step else episode


def fails(error: Exception) -> Change:
    """Raise an error."""

    def change(episode: Episode, step: int) -> Any:
        raise error

    return change


NAN, INF = math.nan, math.inf
VALUES: dict[str, tuple[Change, list[str]]] = {
    "fewer targets": (targets(lambda t: t[:, :3]), ["inputs of [6] and targets of [3]"]),
    "more inputs": (inputs(lambda t: torch.cat([t, t], 1)), ["inputs of [12] and targets of [6]"]),
    "wide inputs": (inputs(lambda t: t.expand(-1, -1, 2)), ["model fails", "(6, 2)"]),
    "wide targets": (targets(lambda t: t.expand(-1, -1, 2)), ["(6, 2)", "must be equal"]),
    "flat targets": (targets(lambda t: t[..., 0]), ["(6,)", "must be equal"]),
    "inputs of float64": (inputs(Tensor.double), ["model fails"]),
    "whole inputs": (inputs(Tensor.long), ["model fails"]),
    "nan in support": (inputs(put(NAN)), ["not finite", "tasks [1]"]),
    "infinity in support": (inputs(put(INF)), ["not finite", "tasks [1]"]),
    "nan in targets": (targets(put(NAN)), ["not finite", "tasks [1]"]),
    "infinity in targets": (targets(put(-INF)), ["not finite", "tasks [1]"]),
    "nan in query": (query(lambda b: b._replace(inputs=put(NAN)(b.inputs))), ["not finite", "[1]"]),
    "late nan": (late(inputs(put(NAN))), ["not finite at meta-step 1", "tasks [1]"]),
    "huge numbers": (inputs(put(1e38)), ["not finite", "tasks [1]"]),
}
"""Numbers, types and shapes that the model meets; words of the message."""
FORMS: dict[str, tuple[Change, list[str]]] = {
    "no episode": (lambda e, s: None, ["gives NoneType", "Episode"]),
    "a tuple": (lambda e, s: (e.support, e.query), ["gives tuple", "Episode"]),
    "a list of tasks": (lambda e, s: [e, e], ["gives list", "Episode"]),
    "ended": (fails(StopIteration()), ["ended", "every step"]),
    "no batch": (lambda e, s: e._replace(support=tuple(e.support)), ["support is tuple", "Batch"]),
    "one input": (lambda e, s: e._replace(query=e.query.inputs), ["query is Tensor", "Batch"]),
    "no support": (
        support(lambda b: Batch(b.inputs[:, :0], b.targets[:, :0])),
        ["support is empty"],
    ),
    "no query": (query(lambda b: Batch(b.inputs[:, :0], b.targets[:, :0])), ["query is empty"]),
    "no query inputs": (query(lambda b: b._replace(inputs=b.inputs[:, :0])), ["query is empty"]),
    "fewer": (targets(lambda t: t[:, :3]), ["inputs of [6]", "targets of [3]", "common length"]),
    "text": (inputs(lambda t: "text"), ["support.inputs holds str", "tensors"]),
    "nothing": (inputs(lambda t: None), ["support.inputs holds NoneType", "tensors"]),
    "no leaves": (inputs(lambda t: {}), ["support.inputs holds NoneType"]),
    "arrays": (inputs(lambda t: t.numpy()), ["support.inputs holds ndarray", "torch.as_tensor"]),
    "numbers": (targets(lambda t: 3.0), ["support.targets holds float"]),
    "list of numbers": (targets(lambda t: t.tolist()), ["support.targets holds float"]),
    "one task": (
        support(lambda b: Batch(b.inputs[:1], b.targets[:1])),
        ["support.inputs", "[1, 6, 1]"],
    ),
    "one task in query": (query(lambda b: Batch(b.inputs[:1], b.targets[:1])), ["query.inputs"]),
    "one task in targets": (targets(lambda t: t[:1]), ["support.targets", "[2, n, ...]"]),
    "no task axis": (inputs(lambda t: t[0]), ["support.inputs", "[6, 1]", "one row per task"]),
    "flat": (targets(lambda t: t[:, 0, 0]), ["support.targets", "[2]", "[2, n, ...]"]),
    "scalar": (targets(lambda t: t.sum()), ["support.targets", "shape []"]),
    "fewer keys": (
        lambda e, s: e._replace(extra={k: v[:1] for k, v in e.extra.items()}),
        ["extra['order']", "[1]", "one row per task"],
    ),
    "keys that are numbers": (
        lambda e, s: e._replace(extra={"order": 3}),
        ["extra['order']", "int"],
    ),
    "scalar key": (lambda e, s: e._replace(extra={"order": torch.tensor(1)}), ["extra['order']"]),
}
"""Episodes that are none; words of the message."""


class Scalar(nn.Linear):
    """One number for all examples."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean()


class Said(nn.Linear):
    """Not a tensor."""

    def forward(self, x: Tensor) -> Any:
        return "six"


class Nan(nn.Linear):
    """Outputs that are no numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * NAN


class Broken(nn.Linear):
    """Raises."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken\nin two lines")


class Two(nn.Linear):
    """Asks for two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x + y)


def mean(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error."""
    return (outputs - targets).square().mean()


def line() -> nn.Module:
    """Return a good model."""
    return nn.Linear(1, 1)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any], list[str]]] = {
    "one output": (lambda: Scalar(1, 1), mean, ["outputs ()", "must be equal"]),
    "text": (lambda: Said(1, 1), mean, ["criterion fails", "str"]),
    "nan": (lambda: Nan(1, 1), mean, ["not finite"]),
    "raises": (lambda: Broken(1, 1), mean, ["model fails", "broken in two lines"]),
    "two inputs": (lambda: Two(1, 1), mean, ["model fails", "missing 1 required"]),
    "float64": (lambda: nn.Linear(1, 1).double(), mean, ["model fails", "dtype"]),
    "half": (lambda: nn.Linear(1, 1).half(), mean, ["model fails"]),
    "dropout in an RNN": (lambda: nn.LSTM(1, 1, 2, dropout=0.5), mean, ["dropout"]),
    "no parameter": (nn.Identity, mean, ["no trainable parameter"]),
    "criterion without mean": (line, lambda o, t: (o - t).square(), ["(6, 1)", "mean reduction"]),
    "criterion of no tensor": (line, lambda o, t: None, ["NoneType", "one number"]),
    "criterion of a constant": (line, lambda o, t: torch.tensor(1.0), ["does not depend"]),
    "criterion of nan": (line, lambda o, t: mean(o, t) * NAN, ["not finite"]),
    "criterion of three": (line, lambda o, t, w: mean(o, t), ["criterion fails", "missing 1"]),
    "criterion that raises": (line, lambda o, t: o @ t, ["criterion fails", "(6, 1)"]),
    "criterion detached": (line, lambda o, t: mean(o.detach(), t), ["does not depend"]),
    "criterion in numpy": (line, lambda o, t: mean(o, t).detach().numpy(), ["one number"]),
}


def setup() -> tuple[nn.Module, Callable[..., Tensor], TaskSource]:
    """Give ``metaccord doctor`` a healthy set-up."""
    return line(), mean, Source()
