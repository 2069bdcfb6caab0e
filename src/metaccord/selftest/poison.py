"""One number of a training made not finite: in its data, its losses, its gradients, its memory."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from metaccord.objective import Objective
from metaccord.outer import moments
from metaccord.records import Record
from metaccord.tasks import Sinusoid
from metaccord.types import Batch, Episode, Params, Stacked

HUGE = 3e38  # finite in float32, but not its square
VALUES = (math.nan, math.inf, -math.inf, HUGE)
DATA = ("support.inputs", "support.targets", "query.inputs", "query.targets")
MEMORY = ("weights", "moments", "statistics")
EXPLOSIONS = (
    ("rule.lr=300", "rule.steps=3"),
    ("outer.optimizer=sgd", "outer.lr=30"),
    ("outer.optimizer=sgd", "outer.lr=1e30", "tasks.amplitude=[1e10,1e11]"),
    ("outer.lr=1e12",),
)
TASKS = 6
STEPS = 2  # inner steps
METHODS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("maml", ()),
    ("maml", ("agreement",)),
    ("maml", ("sharing",)),
    ("maml", ("agreement", "sharing", "cooperative", "coherent")),
    ("fomaml", ("pcgrad",)),
    ("reptile", ("agreement",)),
    ("imaml", ()),
    ("meta_sgd", ("agreement",)),
    ("maml_pp", ()),
)


@dataclass(frozen=True)
class Case:
    """What is made not finite, where and when.

    Args:
        place: A part of the data, ``"loss"``, ``"gradient"``, what lies in memory between two
            meta-steps (``"weights"``, ``"moments"`` of the outer optimiser, ``"statistics"``), or
            ``"explosion"``: rates that are far too large.
        value: What is put there; losses and gradients are multiplied by it.
        base: The base method.
        extra: Interactions over it.
        settings: More of the experiment.
        world: Number of ranks.
        step: Index of the meta-step.
        task: Which task, for data, losses and gradients; None: all.
        inner: Which loss of the meta-step, for losses and gradients; the last is the query's.
        rank: Whose memory; None: everybody's.
    """

    place: str
    value: float
    base: str
    extra: tuple[str, ...]
    settings: tuple[str, ...]
    world: int
    step: int
    task: int | None
    inner: int
    rank: int | None


class _Spike(torch.autograd.Function):
    """Losses whose gradient is not finite."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor * factor, None


class Poison(threading.local):
    """The injection of one case, in every thread that trains.

    Args:
        case: What to inject.
        mark: A file that is made when it was injected.
    """

    def __init__(self, case: Case, mark: Path) -> None:
        self.case, self.mark = case, mark
        self.targets: Tensor | None = None  # of the tasks whose losses are meant
        self.calls = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Change the data, losses or gradients of everything that trains meanwhile."""
        episodes, losses, featured = (
            Sinusoid.episodes, Objective.losses, Objective.losses_with_features,
        )  # fmt: skip

        def drawn(source: Sinusoid, split: str, step: int, tasks: range) -> Episode:
            found = episodes(source, split, step, tasks)
            self.targets, self.calls = None, 0
            if split == "train" and step == self.case.step:
                self._meet(found, tasks)
            return found

        def lost(
            objective: Objective, params: Stacked, batch: Batch, key: Tensor | None = None
        ) -> Tensor:
            return self._raised(losses(objective, params, batch, key), batch)

        def seen(
            objective: Objective, params: Stacked, batch: Batch, key: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            found, features = featured(objective, params, batch, key)
            return self._raised(found, batch), features

        with (
            mock.patch.object(Sinusoid, "episodes", drawn),
            mock.patch.object(Objective, "losses", lost),
            mock.patch.object(Objective, "losses_with_features", seen),
        ):
            yield

    def _meet(self, found: Episode, tasks: range) -> None:
        """Poison the data of a meta-step, or remember which losses are meant."""
        chosen = [i for i, task in enumerate(tasks) if self.case.task in (None, task)]
        if self.case.place in DATA and chosen:
            part, leaf = self.case.place.split(".")
            rows = getattr(getattr(found, part), leaf)  # [T, n, 1]
            rows[chosen, : None if self.case.base == "reptile" else 1] = self.case.value  # batches
            self.mark.touch()
        elif self.case.place in ("loss", "gradient"):
            both = found.support.targets, found.query.targets
            self.targets = torch.cat([t[chosen].flatten() for t in both])

    def _raised(self, losses: Tensor, batch: Batch) -> Tensor:
        """Return the losses ``[T]`` of one call, those that are meant with the value in them."""
        if self.targets is None:
            return losses
        meant = torch.isin(batch.targets.flatten(1), self.targets).all(1)
        now = self.calls
        self.calls += bool(meant.any())
        if now != self.case.inner or not meant.any():
            return losses
        self.mark.touch()
        factor = torch.where(meant, self.case.value, 1.0).to(losses)
        if self.case.place == "loss":
            return losses * factor * factor
        raised: Tensor = _Spike.apply(losses, factor)  # type: ignore[no-untyped-call]
        return raised

    def between(self, record: Record, rank: int, draw: random.Random) -> None:
        """Poison what lies in memory after a meta-step.

        Args:
            record: Of that meta-step.
            rank: Whose memory it is.
            draw: Chooses the tensor and the place in it; the same on all ranks.
        """
        if record.step != self.case.step or self.case.place not in MEMORY:
            return
        every: dict[str, Params] = {
            "weights": record.state.params,
            "moments": moments(record.optimizer),
            "statistics": record.state.running,
        }
        found = every[self.case.place]
        tensor = found[draw.choice([k for k, v in found.items() if v.is_floating_point()])]
        index = draw.randrange(tensor.numel())
        if self.case.rank in (None, rank):
            tensor.view(-1)[index] = self.case.value
            self.mark.touch()


def drawn_case(draw: random.Random, number: int) -> Case:
    """Return a random case; places, values and methods take turns.

    Args:
        draw: For what does not take turns.
        number: Of the case.
    """
    places = (*DATA, "loss", "gradient", *MEMORY, "explosion")
    place, value = places[number % len(places)], VALUES[number // len(places) % len(VALUES)]
    pairs = [
        pair
        for pair in METHODS
        if not (pair[0] == "reptile" and place.startswith("query"))
        and (place != "statistics" or "sharing" in pair[1])
    ]
    base, extra = draw.choice(pairs)
    world, step = draw.choice((1, 2, 3)), draw.randrange(1, 6)
    outer = draw.choice((("outer.optimizer=adam",), ("outer.optimizer=sgd", "outer.momentum=0.9")))
    settings = (*outer, f"checkpoint_every={draw.randint(1, 3)}")
    if place.endswith("inputs"):
        settings = (*settings, "model.activation=relu")  # tanh would make something of them
    if place == "explosion":
        rates = EXPLOSIONS[number // len(places) % len(EXPLOSIONS)]
        settings = (*rates, settings[-1], "model.activation=relu")
        step = 40
    if place in MEMORY and value == HUGE:
        value = math.nan  # a large number is finite, and is saved as it is
    inner = draw.randrange(STEPS + (base != "reptile"))
    task = draw.choice((None, draw.randrange(TASKS)))
    rank = draw.choice((None, draw.randrange(world)))
    return Case(place, value, base, extra, settings, world, step, task, inner, rank)
