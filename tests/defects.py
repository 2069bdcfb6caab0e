"""Interactions and rules that break the contract, each in one way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.interactions import Interaction
from metaccord.objective import Objective
from metaccord.rules import SGD
from metaccord.types import Adaptation, Notes, Own, Params, Stacked

frozen = dataclass(frozen=True, kw_only=True)
Reconciled = tuple[Stacked, dict[str, torch.Tensor]]


@frozen
class Broken(Interaction):
    """A base for the defects: one hook each."""

    name = "broken"


@frozen
class SeesOthersAlone(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mean(0, keepdim=True).expand_as(v) for k, v in rows.items()}, {}


@frozen
class ChangesItsInput(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mul_(2.0) for k, v in rows.items()}, {}


@frozen
class WrongShape(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mean(0, keepdim=True) for k, v in rows.items()}, {}


@frozen
class WrongDtype(Broken):
    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return {k: v.float() for k, v in grads.items()}


@frozen
class WrongNames(Broken):
    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        return dict(list(adapted.items())[1:])


@frozen
class WrongPenalty(Broken):
    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> torch.Tensor:
        return tree.norm(run.adapted).sum()


@frozen
class ClaimsIndependence(Broken):
    independent = True

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return axis.mean(grads)


@frozen
class HidesItsMeeting(Broken):
    """Tasks meet behind the axis's back, so nothing raises; the numbers tell."""

    independent = True

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        if axis.isolated:
            return grads
        return {k: v.mean(0, keepdim=True).expand_as(v) for k, v in grads.items()}


@frozen
class KnowsPlaces(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        count = tree.tasks_in(rows)
        return tree.scale(rows, torch.arange(1.0, count + 1)), {}


@frozen
class ReadsPadding(Broken):
    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> torch.Tensor:
        x = run.episodes.query.inputs.flatten(1).mean(1)  # [T]
        return 0.1 * x * run.solution["head.bias"].flatten(1).sum(1)


@frozen
class DividesByZero(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return tree.scale(rows, 1.0 / tree.norm(rows)), {}


@frozen
class Draws(Broken):
    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return {k: v + 1e-3 * torch.randn_like(v) for k, v in grads.items()}


@frozen
class Remembers(Broken):
    """Keep the first mean that was ever seen."""

    seen: list[Any] = field(default_factory=list, compare=False, repr=False, hash=False)

    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        if not self.seen:
            self.seen.append(rows)
        return {k: v + 0.1 * self.seen[0][k] for k, v in rows.items()}, {}


@frozen
class LearnsNothing(Broken):
    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        return Own({"rate": torch.zeros(steps, dtype=torch.float64)}, {})


@frozen
class RunsWithGraph(Broken):
    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        return Own({}, {"past": torch.zeros((), dtype=torch.float64)})

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        return {"past": own.running["past"].clone().requires_grad_()}, {}


@frozen
class GrowsRunning(Broken):
    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        return {"new": torch.zeros(())}, {}


class Thawed(Interaction):
    """The decorator is missing, so attributes can be set."""


@frozen
class Leaks(SGD):
    """The rule lets tasks meet."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        mean = {k: v.mean(0, keepdim=True).expand_as(v) for k, v in grads.items()}
        return super().update(learned, params, mean, carry, step)


@frozen
class Detaches(SGD):
    """The rule is first order by accident."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        return super().update(learned, params, tree.detached(grads), carry, step)


@frozen
class InPlace(SGD):
    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        return {k: v.sub_(self.lr * grads[k]) for k, v in params.items()}, carry


@frozen
class Forgets(SGD):
    def divide(self, model: Stacked, groups: Any) -> tuple[Stacked, Stacked]:
        moves, still = super().divide(model, groups)
        return dict(list(moves.items())[1:]), still


@frozen
class Drops(SGD):
    """What stays is not all there after the first step."""

    def at(self, learned: Stacked, still: Stacked, step: int) -> Stacked:
        return {} if step else still
