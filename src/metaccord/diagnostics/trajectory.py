"""What adaptation does to unseen tasks: how far, how flat, how low, and how much alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaccord import tree
from metaccord.diagnostics.curvature import extremes
from metaccord.diagnostics.geometry import Pairs, displacements
from metaccord.diagnostics.hessians import Hessians
from metaccord.errors import UsageError
from metaccord.evaluate import adapted_runs, predict
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.protocol import Protocol, Statistics
from metaccord.statistics import Interval, over_tasks
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.types import Adaptation, Batch, MetaState, Params, Stacked
from metaccord.uneven import cut
from metaccord.unroll import met

LANCZOS = 20  # Hessian-vector products per task
ROOM = 2**26  # numbers that Lanczos may hold, unless one task needs more
TOLERANCE = 1e-3  # relative residual of a spectral norm that is sure


class TrajectoryScores(NamedTuple):
    """What adaptation does to unseen tasks, each with a 95 % interval.

    Attributes:
        protocol: How it was measured, with the number of steps filled in.
        spectral_norm: Largest absolute eigenvalue of the support loss's Hessian after adaptation;
            None, like the next two, if no curvature was measured.
        largest_eigenvalue, smallest_eigenvalue: Of the same Hessian, with their signs.
        support_loss: Support loss after adaptation.
        distance: Euclidean length of the displacement.
        trajectory_coherence: Mean cosine between the displacements of two tasks.
        gradient_coherence: Mean inner product of the support gradients of two tasks at the
            initialisation.
        gradient_cosine: The same of gradients divided by their lengths.
        target_loss, target_accuracy: Of the query sets after adaptation; the accuracy is None
            for regression.
        curvature_tasks: Tasks whose curvature was measured: the first ones.
        uncertain: Tasks of these whose norm has a relative residual above 1e-3 after 20 Lanczos
            steps: it is a lower bound.
        unmoved: Tasks that did not move; they have no direction and are in no pair.
    """

    protocol: Protocol
    spectral_norm: Interval | None
    largest_eigenvalue: Interval | None
    smallest_eigenvalue: Interval | None
    support_loss: Interval
    distance: Interval
    trajectory_coherence: Interval
    gradient_coherence: Interval
    gradient_cosine: Interval
    target_loss: Interval
    target_accuracy: Interval | None
    curvature_tasks: int
    uncertain: int
    unmoved: int

    def json(self) -> dict[str, Any]:
        """Return everything as one JSON object; intervals have ``mean`` and ``half``."""
        shown = {
            k: v._asdict() if isinstance(v, Interval) else v for k, v in self._asdict().items()
        }
        return {**shown, "protocol": vars(self.protocol)}


def measure(
    method: Method,
    objective: Objective,
    state: MetaState,
    tasks: TaskSource,
    protocol: Protocol | None = None,
    *,
    curvature_tasks: int | None = None,
) -> TrajectoryScores:
    """Measure one state on unseen tasks, a batch at a time.

    Gradients, displacements and Hessians are of the tensors that the inner loop moves; gradients
    and Hessians are of the loss on the whole support set, normalised by its batch statistics.

    Args:
        method: As meta-trained; ``protocol.steps`` may change the number of inner steps.
        objective: Model and criterion.
        state: Learned and running tensors; not changed.
        tasks: Where episodes come from; its seed is replaced by the protocol's.
        protocol: How to measure. Its ``statistics`` are those of the query sets.
        curvature_tasks: Number of tasks whose curvature is measured, which takes most of the
            time; None: all, 0: none.

    Raises:
        UsageError: if ``curvature_tasks`` is 1, negative or more than there are tasks, or if the
            model has an operation without second derivative.

    Reference:
        Guiroy, Verma, Pal, Towards Understanding Generalization in Gradient-Based Meta-Learning,
        2019, arXiv 1907.07287.
    Differs:
        Pairs are of two different tasks. The spectral norm comes from Lanczos instead of power
        iteration. The cosine of gradients and the signed eigenvalues are additions.

    Example:
        >>> import metaccord as mc
        >>> tasks, method = mc.tasks.Quadratics(dim=3, condition=4.0), mc.methods.maml(steps=2)
        >>> objective = mc.Objective(mc.tasks.Point(3).double(), mc.tasks.mean_height)
        >>> state = mc.initialise(method, objective, seed=0)
        >>> scores = measure(method, objective, state, tasks, mc.Protocol(tasks=5))
        >>> round(scores.spectral_norm.mean, 6)
        4.0
    """
    protocol = protocol or Protocol()
    protocol = replace(
        protocol, steps=method.rule.steps if protocol.steps is None else protocol.steps
    )
    method = method.with_steps(protocol.steps)
    if protocol.permutations > 1:
        raise UsageError("protocol.permutations: there is one path per task, leave it at 1")
    curved = protocol.tasks if curvature_tasks is None else curvature_tasks
    if curved == 1 or not 0 <= curved <= protocol.tasks:
        raise UsageError(
            f"curvature_tasks={curvature_tasks}: use 0 or a number from 2 to protocol.tasks="
            f"{protocol.tasks}"
        )
    objective = settled(objective.planned(replace(objective.plan, compile=False, checkpoint=False)))
    stream, tally = replace(tasks, seed=protocol.seed), _Tally()
    for run in adapted_runs(method, objective, state, stream, protocol):
        count = tree.tasks_in(run.episodes)
        tally.geometry(objective, run, met(method, tree.expand(state.params, count), run, 0))
        tally.losses(objective, run, protocol.statistics, stream.classifies)
        tally.curvature(objective, run, min(curved, count))
        curved -= count
    return tally.scores(protocol)


class _Tally:
    """What is kept of the tasks seen so far."""

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = defaultdict(list)  # one number per task
        self.moved, self.pulled, self.aimed = Pairs(unit=True), Pairs(), Pairs(unit=True)

    def geometry(self, objective: Objective, run: Adaptation, start: Stacked) -> None:
        """Take in displacements, and gradients at the initialisation ``start``."""
        moved = displacements(run)
        self.moved.add(moved)
        self.columns["distance"] += torch.linalg.vector_norm(moved, dim=1).tolist()

        def total(params: Stacked) -> tuple[Tensor, tuple[()]]:
            return objective.losses({**start, **params}, run.episodes.support).sum(), ()

        grads, _ = objective.plan.rows(total, run.initial, create_graph=False)
        pulled = tree.flat(grads)  # the sign of g_i = -grad does not matter
        self.pulled.add(pulled)
        self.aimed.add(pulled)

    def losses(
        self, objective: Objective, run: Adaptation, statistics: Statistics, classifies: bool
    ) -> None:
        """Take in losses and accuracies after adaptation."""

        def one(params: Params, support: Batch, query: Batch) -> tuple[Tensor, Tensor, Tensor]:
            outputs = predict(objective, statistics, params, support, query.inputs)
            outputs = cut(outputs, query.ways)
            loss = objective.criterion(outputs, query.targets)
            right = (outputs.argmax(-1) == query.targets).float().mean() if classifies else loss
            return objective.loss(params, support), loss, right

        with torch.no_grad():
            over = objective.over_tasks(one)
            found = over(run.solution, run.episodes.support, run.episodes.query)
        names = ["support_loss", "target_loss", *(["target_accuracy"] if classifies else [])]
        for name, values in zip(names, found, strict=False):
            self.columns[name] += values.tolist()

    def curvature(self, objective: Objective, run: Adaptation, count: int) -> None:
        """Take in the ends of the spectra of the first ``count`` tasks of a batch."""
        if count < 1:
            return
        params = {k: run.solution[k] for k in run.initial}
        still = {k: v for k, v in run.solution.items() if k not in run.initial}
        parts = tree.split((params, still, run.episodes.support), count)[0]
        size = sum(leaf[0].numel() for leaf in params.values())
        together = max(1, min(objective.plan.size(count), ROOM // (LANCZOS * size)))
        for piece in tree.split(parts, together):
            found = extremes(Hessians(objective, *piece), steps=LANCZOS)
            self.columns["spectral_norm"] += found.norm.tolist()
            self.columns["largest_eigenvalue"] += found.largest.tolist()
            self.columns["smallest_eigenvalue"] += found.smallest.tolist()
            self.columns["uncertain"] += (~(found.residual <= TOLERANCE * found.norm)).tolist()

    def scores(self, protocol: Protocol) -> TrajectoryScores:
        """Return the intervals."""

        def interval(name: str) -> Interval | None:
            return over_tasks(self.columns[name]) if self.columns[name] else None

        return TrajectoryScores(
            protocol=protocol,
            spectral_norm=interval("spectral_norm"),
            largest_eigenvalue=interval("largest_eigenvalue"),
            smallest_eigenvalue=interval("smallest_eigenvalue"),
            support_loss=over_tasks(self.columns["support_loss"]),
            distance=over_tasks(self.columns["distance"]),
            trajectory_coherence=self.moved.interval(),
            gradient_coherence=self.pulled.interval(),
            gradient_cosine=self.aimed.interval(),
            target_loss=over_tasks(self.columns["target_loss"]),
            target_accuracy=interval("target_accuracy"),
            curvature_tasks=len(self.columns["spectral_norm"]),
            uncertain=int(sum(self.columns["uncertain"])),
            unmoved=self.moved.zeros,
        )
