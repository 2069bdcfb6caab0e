"""Meta-gradients of quadratic tasks beside their closed forms, row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import torch

from metaccord.method import Method, initialise
from metaccord.selftest import bounds
from metaccord.selftest.arrays import Array, Rows, distance, numbers, tensor
from metaccord.selftest.bowls import KINDS, Bowl, Warped, drawn, objective
from metaccord.selftest.outcome import Outcome
from metaccord.selftest.problem import Problem
from metaccord.step import meta_gradient
from metaccord.types import MetaState, MetaStep

TASKS = 25  # quadratics of one meta-step; fewer if there would be less than ten meta-steps


STEPS = (0, 1, 40, 77, 98, 99, 100, 130)  # meta-steps, for methods with a schedule


@dataclass(frozen=True)
class Case:
    """A method and its closed form.

    Args:
        name: For the table.
        method: The method for a problem.
        rows: The closed form.
        joint: Tasks meet, so an error is relative to all rows together.
        unit: What errors are relative to, where the rows are differences of these; None: the rows.
        fewest: Least number of inner steps that has a meaning.
        exactly: The only number of inner steps with a closed form; None: any.
        broad: Needs two dimensions: a trunk and a head, or directions that differ.
        line: Has a closed form in one dimension only.
        warped: Takes a warped point.
        keys: Episodes carry keys.
        history: A meta-step on other tasks goes before.
    """

    name: str
    method: Callable[[Problem], Method]
    rows: Callable[[Problem], Rows]
    joint: bool = False
    unit: Callable[[Problem], Rows] | None = None
    fewest: int = 0
    exactly: int | None = None
    broad: bool = False
    line: bool = False
    warped: bool = False
    keys: bool = False
    history: bool = False


def problem(case: Case, rng: np.random.Generator, tasks: int, kind: str = "") -> Problem:
    """Draw a problem for a case; ``kind``: see :data:`metaccord.selftest.bowls.KINDS`."""
    dim = int(rng.integers(2, 33))
    if case.line or (kind == "line" and not case.broad):
        dim = 1
    steps = int(rng.integers(1, 21)) if case.exactly is None else case.exactly
    if kind == "none" and case.exactly is None:
        steps = case.fewest
    lr = _step_size(rng, steps)
    found = Problem(
        bowls=drawn(rng, tasks, dim, kind),
        earlier=drawn(rng, tasks, dim, kind),
        theta=rng.standard_normal(dim),
        head=int(rng.integers(1, dim)) if dim > 1 else 1,
        steps=steps,
        lr=lr,
        learned={},
        step=int(rng.choice(STEPS)),
    )
    state = initialise(case.method(found), objective(model(case, found)))
    extras = {k: v for k, v in numbers(state.params).items() if k not in POINT}
    learned = {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in extras.items()}
    return replace(found, learned=learned)


def _step_size(rng: np.random.Generator, steps: int) -> float:
    """Draw a step size that leaves at least about a hundredth of each distance to the solution.

    Beyond that a meta-gradient is the difference of numbers so much larger that float64 has no
    digits left to compare, whatever computes it.
    """
    if steps <= 4 and rng.uniform() < 0.3:
        return float(rng.uniform(1.6, 1.8))  # from one side of the bowl to the other
    return float(rng.uniform(0.02, 1 - 10 ** (-2 / max(steps, 1))))


POINT = ("model.trunk", "model.head", "model.weight")


def model(case: Case, p: Problem) -> Bowl | Warped:
    """Return the model that a problem is about."""
    return Warped(p.dim) if case.warped else Bowl(p.dim, p.head)


def measured(case: Case, p: Problem, method: Method | None = None) -> MetaStep:
    """Return the library's meta-step on a problem.

    Args:
        case: What kind of problem it is.
        p: The problem.
        method: Another method than the case's, to see that the closed form tells them apart.
    """
    method = method or case.method(p)
    task = objective(model(case, p))
    state = initialise(method, task)
    edge = p.dim - p.head
    given = {"trunk": p.theta[None, :edge], "head": p.theta[edge:], "weight": p.theta}
    params = {k: tensor(given[k[6:]]) if k in POINT else v for k, v in state.params.items()}
    params |= {k: tensor(v) for k, v in p.learned.items() if k in params}
    running = dict(state.running)
    if "estimator.step" in running:
        running["estimator.step"] = torch.tensor(p.step)
    if case.history:
        before = meta_gradient(method, task, MetaState(params, running), p.earlier.episode())
        running = before.running
    episode = p.bowls.episode(keys=case.keys)
    return meta_gradient(method, task, MetaState(params, running, p.step), episode)


def grouped(step: MetaStep) -> Rows:
    """Return the library's rows under the names of the closed forms."""
    rows = numbers(step.rows)
    parts = [rows.pop(k) for k in POINT if k in rows]
    return rows | {"point": np.concatenate([part.reshape(len(part), -1) for part in parts], 1)}


def errors(case: Case, p: Problem, found: Rows) -> Array:
    """Return the relative error of each task's row, the worse of point and other parts: ``[T]``.

    A single number can be arbitrarily small beside the numbers that it is the difference of, so
    in one dimension the unit is the length of all rows together, as where tasks meet.

    Raises:
        AssertionError: if library and closed form do not have rows of the same names.
    """
    expected = case.rows(p)
    if found.keys() != expected.keys():
        raise AssertionError(f"{case.name}: {sorted(found)} but {sorted(expected)} is expected")
    parts = [[k for k in expected if (k == "point") is point] for point in (True, False)]
    joined = [(_flat(found, names), _flat(expected, names)) for names in parts if names]
    if case.unit:
        whole = _flat(case.unit(p), ["point"])
        joined = [(a - b + whole, whole) for a, b in joined]
    if case.joint or p.dim == 1:
        return np.full(p.tasks, max(distance(a, b) for a, b in joined))
    return np.array([max(distance(a[i], b[i]) for a, b in joined) for i in range(p.tasks)])


def _flat(rows: Rows, names: list[str]) -> Array:
    return np.concatenate([rows[k].reshape(len(rows[k]), -1) for k in names], axis=1)


def growth(condition: Array) -> Array:
    """Return by how much a condition number raises the bound: 1 up to 1e3, then in proportion."""
    return np.maximum(1.0, condition / 1e3)


def kinds() -> Iterator[str]:
    """Yield what batches are about: each edge case once, then random ones."""
    yield from KINDS
    while True:
        yield ""


def check(
    case: Case, count: int, seed: int, method: Callable[[Problem], Method] | None = None
) -> Outcome:
    """Compare ``count`` quadratics; the figure is the worst error over its growth.

    Args:
        case: Method and closed form.
        count: Number of quadratics, each a task of its own.
        seed: Of all draws.
        method: Another method, to see that the closed form tells them apart.
    """
    start = time.perf_counter()
    rng = np.random.default_rng([seed, crc32(case.name.encode())])
    size = max(1, min(TASKS, count // 10))
    worst, where, done = 0.0, "", 0
    for batch, kind in enumerate(kinds()):
        if done == count:
            break
        p = problem(case, rng, min(size, count - done), kind)
        found = measured(case, p, method(p) if method else None)
        error = errors(case, p, grouped(found))
        figure = error / growth(p.bowls.condition)
        if figure.max() > worst:
            worst = float(figure.max())
            task = int(figure.argmax())
            where = (
                f"batch {batch} ({kind or 'random'}), task {task}: d {p.dim}, K {p.steps}, "
                f"lr {p.lr:.3f}, condition {p.bowls.condition[task]:.1e}, seed {seed}"
            )
        done += p.tasks
    return Outcome(
        name=f"closed form: {case.name}",
        promise="meta-gradients equal algebra; above condition 1e3 the bound grows with it",
        count=count,
        fired=done,
        worst=worst,
        bound=bounds.CLOSED_FORM,
        seconds=time.perf_counter() - start,
        detail=where,
    )
