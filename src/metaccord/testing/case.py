"""The small problem on which contracts are checked, and the checks that need an engine."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.interactions import Interaction
from metaccord.keys import seeded, uniform
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.step import meta_gradient
from metaccord.testing.ranks import ThreadRanks, on_ranks
from metaccord.testing.watched import alike, close, equal
from metaccord.types import Batch, Episode, MetaState, MetaStep

TASKS = 4
ALL = Plan(chunk="all")


class Case:
    """One method on the small problem."""

    def __init__(self, method: Method) -> None:
        self.method, self.untouched = method, copy.deepcopy(method)
        with seeded(0):
            model = nn.Sequential()
            norms = [nn.BatchNorm1d(3, track_running_stats=False)] if method.rule.stepwise else []
            model.add_module("body", nn.Sequential(nn.Linear(2, 3), *norms, nn.Tanh()))
            model.add_module("head", nn.Linear(3, 1))
        self.objective = Objective(model.double(), mse_loss, ALL)
        numbers = uniform(torch.tensor(1), (TASKS, 8, 3)) * 2 - 1
        x, y = numbers[..., :2], numbers[..., 2:] + numbers[..., :1]
        keys = {"order": torch.arange(TASKS)}
        self.episodes = Episode(Batch(x[:, :4], y[:, :4]), Batch(x[:, 4:], y[:, 4:]), keys)

    def start(self) -> MetaState:
        """Return the state before the first meta-step."""
        return initialise(self.method, self.objective)

    def step(
        self, plan: Plan = ALL, episodes: Episode | None = None, axis: TaskAxis | None = None
    ) -> MetaStep:
        """Return one meta-step from the start."""
        found, goal = self.episodes if episodes is None else episodes, self.objective.planned(plan)
        return meta_gradient(self.method, goal, self.start(), found, axis)

    def runs(self) -> None:
        """A meta-step gives one row per task and tensor."""
        step, state = self.step(), self.start()
        alike(step.rows, tree.expand(state.params, TASKS), "rows")

    def repeats(self) -> None:
        """Two calls with the same arguments."""
        first, again = self.step(), self.step()
        equal((first.rows, first.notes, first.running), (again.rows, again.notes, again.running))

    def keeps_no_state(self) -> None:
        """A second step from a copied state by a fresh value equals the second step as usual."""
        first = self.step()
        params = {k: 1.5 * v for k, v in self.start().params.items()}
        state = MetaState(params, tree.mapped(Tensor.clone, first.running), 1)
        usual = meta_gradient(self.method, self.objective, state, self.episodes)
        fresh = copy.deepcopy(self.untouched)
        again = meta_gradient(fresh, self.objective, state, self.episodes)
        equal((usual.rows, usual.running), (again.rows, again.running))

    def observes(self) -> None:
        """What ``observe`` returns can be observed again."""
        running = self.step().running
        alike(running, self.start().running, "running")
        assert not any(v.requires_grad for v in running.values()), "a tensor has a graph"

    def chunks(self) -> None:
        """A loop, pieces, and one ``vmap``."""
        whole = self.step()
        for chunk in (1, 2, 3):
            close(self.step(Plan(chunk=chunk)).rows, whole.rows)

    def released(self) -> None:
        """Graphs freed piece by piece change nothing, and no task asks for a sum."""
        kept = meta_gradient(
            self.method.with_interaction(Coupled()),
            self.objective.planned(Plan(chunk=2)),
            self.start(),
            self.episodes,
        )
        close(self.step(Plan(chunk=2)).rows, kept.rows)

    def checkpointed(self) -> None:
        """Inner steps that are computed twice, to the bit."""
        for chunk in (1, 4):
            equal(
                self.step(Plan(chunk=chunk, checkpoint=True)).rows,
                self.step(Plan(chunk=chunk)).rows,
            )

    def functional(self) -> None:
        """``torch.func.grad`` instead of ``torch.autograd``."""
        close(self.step(Plan(chunk="all", compile=True)).rows, self.step().rows)

    def padded(self) -> None:
        """Tasks of different sizes: what lies beyond a task's end changes nothing."""
        sizes = torch.tensor([2, 4, 3, 4])
        beyond = torch.arange(4) >= sizes[:, None]  # [T, n]

        def ended(batch: Batch, value: float) -> Batch:
            inputs, targets = (leaf.clone() for leaf in (batch.inputs, batch.targets))
            inputs[beyond] = targets[beyond] = value
            return Batch(inputs, targets, sizes)

        first, other = (
            self.step(episodes=self.episodes._replace(support=ended(s, v), query=ended(q, v)))
            for s, q in [self.episodes[:2]]
            for v in (torch.nan, 1.0)
        )
        equal((first.rows, first.notes, first.running), (other.rows, other.notes, other.running))

    def finite_at_zero(self) -> None:
        """A loss without slope."""
        goal = Objective(self.objective.model, lambda o, t: 0.0 * (o - t).sum(), ALL)
        step = meta_gradient(self.method, goal, self.start(), self.episodes)
        for name, value in {**step.rows, **step.notes, **step.running}.items():
            assert value.isfinite().all(), f"{name} is not finite"

    def equivariant(self) -> None:
        """Tasks have no order."""
        order = torch.tensor([2, 0, 3, 1])
        permuted = self.step(episodes=tree.mapped(lambda leaf: leaf[order], self.episodes))
        plain = self.step()
        close(permuted.rows, {k: v[order] for k, v in plain.rows.items()})
        close(permuted.grads, plain.grads)

    def isolated(self) -> None:
        """No task may see another at meta-test."""
        together = self.step(axis=TaskAxis(TASKS, isolated=True)).rows
        alone = [
            self.step(episodes=one, axis=TaskAxis(1, isolated=True)).rows
            for one in tree.split(self.episodes, 1)
        ]
        close(together, tree.join(alone, torch.cat))

    def spread(self) -> None:
        """Two ranks with half of the tasks each."""
        history = self.start()._replace(running=self.step().running)
        whole = meta_gradient(self.method, self.objective, history, self.episodes)

        def half(ranks: ThreadRanks) -> MetaStep:
            part = tree.split(self.episodes, TASKS // 2)[ranks.rank]
            axis = TaskAxis(TASKS, ranks=ranks)
            own = copy.deepcopy(self.objective.model)  # a module is called by one thread at a time
            goal = replace(self.objective, model=own)
            return meta_gradient(self.method, goal, history, part, axis)

        halves = on_ranks(2, half)
        close(tree.join([found.rows for found in halves], torch.cat), whole.rows)
        for found in halves:
            close(found.grads, whole.grads)
            moving = {k: v.double() for k, v in found.running.items()}
            close(moving, {k: v.double() for k, v in whole.running.items()})

    def learns(self) -> None:
        """Learned tensors have rows, and only those."""
        state = self.start()._replace(running=self.step().running)  # with some history
        step = meta_gradient(self.method, self.objective, state, self.episodes)
        assert step.rows.keys() == state.params.keys(), "rows and learned tensors differ in names"
        idle = [k for k in step.rows if not k.startswith("model.") and not step.rows[k].any()]
        assert not idle, f"{idle} never receives a gradient"

    def divides(self) -> None:
        """Each tensor is on one side, and what stays is the same tensors at every step."""
        rule, state = self.method.rule, self.start()
        model = tree.scope(state.params, "model")
        moves, still = rule.divide(model, self.objective.groups)
        assert moves.keys() | still.keys() == model.keys(), "a tensor is missing"
        assert not moves.keys() & still.keys(), "a tensor moves and stays"
        own, still = tree.expand(tree.scope(state.params, "rule"), TASKS), tree.expand(still, TASKS)
        before = tree.mapped(Tensor.clone, (own, still))
        for step in (0, 1, 99):
            alike(rule.at(own, still, step), before[1], "at")
        equal((own, still), before)

    def updates(self) -> None:
        """One step by itself: types and shapes kept, inputs untouched, no task sees another."""
        rule, state = self.method.rule, self.start()
        params, _ = rule.divide(tree.scope(state.params, "model"), self.objective.groups)
        stack = {k: v.clone() for k, v in tree.expand(params, TASKS).items()}
        own = tree.expand(tree.scope(state.params, "rule"), TASKS)
        key = torch.tensor(5)
        grads = {k: uniform(key, tuple(v.shape)).to(v) for k, v in stack.items()}
        carry = rule.begin(stack, tree.scope(state.running, "rule"))
        before = tree.mapped(Tensor.clone, (own, stack, grads, carry))
        moved, after = rule.update(own, stack, grads, carry, 0)
        equal((own, stack, grads, carry), before)
        alike(moved, stack, "moved")
        alike(after, carry, "carry")
        alone = [
            rule.update(own, stack, grads, carry, 0)[0]
            for own, stack, grads, carry in tree.split((own, stack, grads, carry), 1)
        ]
        close(moved, tree.join(alone, torch.cat))

    def differentiates(self) -> None:
        """Central differences along one direction, on the mean query loss."""
        state, step, h = self.start(), self.step(), 1e-4
        ways = {k: uniform(torch.tensor(7), tuple(v.shape)) - 0.5 for k, v in state.params.items()}

        def loss(by: float) -> Tensor:
            params = {k: v + by * ways[k] for k, v in state.params.items()}
            at = state._replace(params=params)
            losses = meta_gradient(self.method, self.objective, at, self.episodes).run.losses
            assert losses is not None
            return losses.mean()

        coarse, fine = ((loss(s) - loss(-s)) / (2 * s) for s in (h, h / 2))
        slope = torch.stack([(step.grads[k] * ways[k]).sum() for k in ways]).sum()
        close({"slope": slope}, {"slope": (4 * fine - coarse) / 3}, 1e-6)


class Coupled(Interaction):
    """Change nothing, but claim that tasks meet, so that graphs are kept."""

    name = "coupled"

    @property
    def independent(self) -> bool:
        """Never."""
        return False
