"""Train by the library and by hand, and compare all parameters after every meta-step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from metaccord import losses
from metaccord.engine import Plan
from metaccord.method import Method, initialise
from metaccord.models import MLP
from metaccord.objective import Objective
from metaccord.outer import Outer as LibraryOuter
from metaccord.selftest import bounds
from metaccord.selftest.arrays import Array, Rows, distance, numbers, tensor
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.plain.cases import Pair
from metaccord.selftest.plain.episodes import Bends
from metaccord.selftest.plain.inner import Outer, Slots
from metaccord.selftest.plain.meta import Meta
from metaccord.selftest.plain.network import Loss, Net
from metaccord.train import train
from metaccord.types import MetaState

TASKS, RATES = 4, {"adam": 0.01, "sgd": 0.5}


class ByHand:
    """A training in NumPy.

    Args:
        pair: Whose plain method is trained.
        learned: Everything learned, by the library's names.
        tasks: Where episodes come from.
        steps: Meta-steps in all.
    """

    def __init__(self, pair: Pair, learned: Rows, tasks: Bends, steps: int) -> None:
        self.plain, self.learned, self.tasks = pair.plain, dict(learned), tasks
        self.outer = Outer(pair.outer, RATES[pair.outer], steps)
        self.net = Net(warped=pair.warped)
        self.running: dict[str, Any] = {}
        self.slots: dict[str, Slots] = {}

    def step(self, step: int) -> float:
        """Make meta-step ``step`` (from 0) and return the length of its gradient."""
        x, y = self.tasks.arrays(step, range(TASKS))
        cut = self.tasks.shots
        support = Loss(self.net, x[:, :cut], y[:, :cut])
        query = Loss(self.net, x[:, cut:], y[:, cut:])
        meta = Meta(self.net, support, query, self.learned, self.running, step)
        rows, moved, self.running = self.plain.base(meta)
        grads = {k: v.mean(0) for k, v in self.plain.combine(rows, moved).items()}
        for name, value in self.learned.items():
            grad = grads.get(name, np.zeros_like(value))
            new, slots = self.outer.stepped(value, grad, self.slots.get(name, ()), step)
            self.learned[name], self.slots[name] = new, slots
        return float(np.sqrt(sum((g**2).sum() for g in grads.values())))


def beginning(pair: Pair, method: Method, seed: int) -> tuple[Objective, Rows, MetaState]:
    """Return the objective, and random learned tensors as arrays and as a state."""
    model = MLP(2, (4,), 2, activation="tanh", warp=pair.warped).double()
    objective = Objective(model, losses.mse, Plan(chunk="all"))
    state = initialise(method, objective, seed=seed)
    rng = np.random.default_rng(seed)
    learned = {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in numbers(state.params).items()}
    learned |= {k: np.clip(v, 0.05, 0.3) for k, v in learned.items() if k.startswith("rule.rate.")}
    params = {k: tensor(v) for k, v in learned.items()}
    running = {k: v.double() if v.is_floating_point() else v for k, v in state.running.items()}
    return objective, learned, MetaState(params, running, 0)


def check(name: str, pair: Pair, steps: int, seed: int, method: Method | None = None) -> Outcome:
    """Compare ``steps`` meta-steps.

    Args:
        name: Of the method.
        pair: Both implementations.
        steps: Meta-steps.
        seed: Of weights and tasks.
        method: Another method for the library, to see that the comparison tells them apart.
    """
    start = time.perf_counter()
    method = method or pair.method
    objective, learned, state = beginning(pair, method, seed)
    tasks = Bends(seed=seed, keyed=pair.keyed)
    hand = ByHand(pair, learned, tasks, steps)
    schedule = "linear" if pair.outer == "sgd" else "constant"
    outer = LibraryOuter(optimizer=pair.outer, lr=RATES[pair.outer], schedule=schedule)  # type: ignore[arg-type]
    worst, where, done = 0.0, "", 0
    run = train(method, objective, tasks, steps=steps, num_tasks=TASKS, outer=outer, state=state)
    for done, record in enumerate(run, 1):
        norm = hand.step(done - 1)
        found = numbers(record.state.params)
        errors = {k: distance(found[k], hand.learned[k]) for k in hand.learned}
        errors["the length of the gradient"] = distance(
            _one(record.numbers["grad_norm"]), _one(norm)
        )
        place = max(errors, key=errors.__getitem__)
        if errors[place] > worst:
            worst, where = errors[place], f"worst in {place} after meta-step {done}, seed {seed}"
    return Outcome(
        name=f"by hand: {name}",
        promise="trains as NumPy code without autograd does, every parameter after every step",
        count=steps,
        fired=done,
        worst=worst,
        bound=bounds.WITHOUT_AUTOGRAD,
        seconds=time.perf_counter() - start,
        detail=where,
    )


def _one(value: Any) -> Array:
    return np.array([float(value)])
