"""What is measured on the query sets of adapted tasks, batch by batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaccord import tree
from metaccord.calibration import Calibration, tally
from metaccord.episode_set import Hashed
from metaccord.objective import Objective
from metaccord.permutations import averaged
from metaccord.protocol import Protocol, Statistics
from metaccord.scores import Scores
from metaccord.tasks.source import TaskSource
from metaccord.types import Batch, Episode, Params, Stacked
from metaccord.uneven import cut


class Found(NamedTuple):
    """The numbers of each task at one point.

    Attributes:
        loss: ``[T]``.
        right: Fraction of right answers ``[T]``; the loss for regression.
        more: What :func:`metaccord.calibration.tally` gives, or RMSE, MAE and R2, or nothing:
            ``[T, ...]``.
    """

    loss: Tensor
    right: Tensor
    more: Tensor


class Measure:
    """Collects the scores of an evaluation.

    Args:
        objective: Model and criterion.
        tasks: Where the episodes come from.
        protocol: How to measure.
        at: Numbers of inner steps, ascending.

    Attributes:
        hashed: Takes in the episodes as they are drawn.
    """

    def __init__(
        self, objective: Objective, tasks: TaskSource, protocol: Protocol, at: tuple[int, ...]
    ) -> None:
        self.hashed = Hashed(tasks, protocol)
        self._objective, self._tasks, self._protocol, self._at = objective, tasks, protocol, at
        self._found: list[list[Found]] = []  # batches of points

    def add(self, episodes: Episode, points: list[Stacked], called: Tensor | None) -> None:
        """Measure some adapted tasks.

        Args:
            episodes: Theirs, as drawn.
            points: Their tensors after each number of steps, ``[T * P, ...]``.
            called: The P orders of the labels under which each was adapted, ``[T, P, W]``; None:
                as drawn.
        """
        over = self._objective.over_tasks(self._one if called is None else self._mean)
        found = []
        with torch.no_grad():
            for params in points:
                if called is None:
                    kept = over(params, episodes.support, episodes.query)
                else:
                    shape = called.shape[:2]
                    many = {k: v.view(*shape, *v.shape[1:]) for k, v in params.items()}
                    kept = over(many, episodes.support, episodes.query, called)
                found.append(Found(*(leaf.cpu() for leaf in kept)))
        self._found.append(found)

    def scores(self) -> Scores:
        """Return the scores once all tasks of the protocol were added."""
        points = [
            Found(*(torch.cat(c) for c in zip(*p, strict=True)))
            for p in zip(*self._found, strict=True)
        ]
        losses, right, more = (torch.stack(column, 1) for column in zip(*points, strict=True))
        classifies, known = self._tasks.classifies, more.shape[2] > 0
        sums = more.double().sum(0) if classifies and known else ()
        return Scores(
            self._protocol,
            self._at,
            losses,
            right if classifies else None,
            self.hashed.result(),
            more if known and not classifies else None,
            tuple(Calibration.summed(one) for one in sums),
        )

    def _one(self, params: Params, support: Batch, query: Batch) -> Found:
        return self._judged(self._outputs(params, support, query), query)

    def _mean(self, params: Params, support: Batch, query: Batch, called: Tensor) -> Found:
        """Measure the mean of one task's answers; ``params`` [P, ...]."""
        every = [{k: v[p] for k, v in params.items()} for p in range(len(called))]
        logits = [self._outputs(one, support, query) for one in every]
        return self._judged(averaged(logits, called), query)

    def _outputs(self, params: Params, support: Batch, query: Batch) -> Any:
        statistics = self._protocol.statistics
        outputs = predict(self._objective, statistics, params, support, query.inputs)
        return cut(outputs, query.ways)

    def _judged(self, outputs: Any, query: Batch) -> Found:
        loss = self._objective.criterion(outputs, query.targets)
        if not self._tasks.classifies:
            return Found(loss, loss, self._errors(outputs, query.targets, loss))
        right = (outputs.argmax(-1) == query.targets).float().mean()
        return Found(loss, right, _sureness(outputs, query.targets))

    def _errors(self, outputs: Any, targets: Any, loss: Tensor) -> Tensor:
        """Return RMSE, MAE and R2 of one task in the user's units, ``[3]``, or nothing."""
        pair = (outputs, targets)
        if not all(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in pair):
            return loss.new_zeros(0)
        if outputs.shape != targets.shape:
            return loss.new_zeros(0)
        if (coding := self._tasks.coding) is not None:
            outputs, targets = coding.values(outputs), coding.values(targets)
        gap = (outputs - targets).double()
        spread = (targets - targets.mean(0)).double().square().sum()
        share = 1 - gap.square().sum() / spread
        r2 = torch.where(spread > 0, share, torch.nan)
        return torch.stack([gap.square().mean().sqrt(), gap.abs().mean(), r2])


def _sureness(outputs: Any, targets: Any) -> Tensor:
    """Return the sums of a calibration over one task's answers, or nothing."""
    fits = isinstance(targets, Tensor) and outputs.shape[:-1] == targets.shape
    if not fits or targets.is_floating_point() or not outputs.is_floating_point():
        return outputs.new_zeros(0)
    p = outputs.flatten(0, -2).double().softmax(1)
    return tally(p, targets.flatten().long())


def predict(
    objective: Objective, statistics: Statistics, params: Params, support: Batch, inputs: Any
) -> Any:
    """Return one task's outputs for some inputs under a protocol.

    Args:
        objective: The model.
        statistics: What batch normalisation sees.
        params: Adapted parameters of the task.
        support: Its support set ``[n, ...]``.
        inputs: Tree of ``[m, ...]``.
    """
    if statistics == "transductive" or not objective.batch_dependent():
        return objective.predict(params, inputs)
    if statistics == "frozen":
        return objective.predict_frozen(params, support.inputs, inputs)
    outputs = []
    for single in tree.split(inputs, 1):
        both = tree.join([support.inputs, single], torch.cat)
        outputs.append(tree.mapped(lambda leaf: leaf[-1:], objective.predict(params, both)))
    return tree.join(outputs, torch.cat)
