"""The meta-gradient compared with a plain loop and with finite differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.differences import Smooth, along, directions, dot, relative, slope
from metaccord.doctor.findings import Certificate
from metaccord.doctor.loops import by_loop, has_loop
from metaccord.estimators import MAML, MultiStep
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.step import meta_gradient
from metaccord.types import Episode, MetaState, Params
from metaccord.unroll import query_losses, unroll

DIRECTIONS = 3


def certify(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> Certificate:
    """Compare the meta-gradient of a few tasks with other roads to it.

    Args:
        method: Its interactions are left out: they do not differentiate one function, and have
            a contract of their own (:func:`metaccord.testing.check_interaction`).
        objective: In float64.
        state: In float64.
        episodes: In float64, ``[T, n, ...]``.
    """
    notes, method = [], method.at(state.step)
    if method.interactions:
        notes.append("without its interactions: see metaccord.testing.check_interaction")
        method = replace(method, interactions=())
        names = [k for k in state.params if not k.startswith("interaction.")]
        state = state._replace(params={k: state.params[k] for k in names})
    found = gradient(method, objective, state, episodes)
    loop = None
    if has_loop(method):
        arranged = method.rule.arranged(episodes)
        loop = relative(found, by_loop(method, objective, state, arranged))
    if not is_differentiated(method):
        word = "its own definition" if loop is not None else "no independent road to it is known"
        return Certificate(f"{method.name}: {word}", loop, notes=tuple(notes))
    smooth = Smooth()
    with smooth:
        found = gradient(method, objective, state, episodes)
    if not smooth.replaced and not smooth.kinks:
        differences = _worst(_errors(found, method, objective, state, episodes))
    else:
        with smooth:
            errors = _errors(found, method, objective, state, episodes)
        differences = min(errors) if smooth.kinks else _worst(errors)
    if smooth.replaced:
        notes.append(
            f"for the differences, smooth twins stood for {', '.join(sorted(smooth.replaced))}"
        )
    if smooth.kinks:
        notes.append(f"{', '.join(sorted(smooth.kinks))} may have kinks: the best direction counts")
    return Certificate(f"{method.name}, second order", loop, differences, DIRECTIONS, tuple(notes))


def is_differentiated(method: Method) -> bool:
    """Say whether the meta-gradient is the derivative of a loss through the whole inner loop."""
    estimator = method.estimator
    return type(estimator) in (MAML, MultiStep) and not getattr(estimator, "first_order", False)


def gradient(method: Method, objective: Objective, state: MetaState, episodes: Episode) -> Params:
    """Return the engine's meta-gradient."""
    return meta_gradient(method, objective, state, episodes).grads


def first_order(method: Method) -> Method:
    """Return the same method with inner gradients as constants."""
    assert isinstance(method.estimator, MAML)
    estimator = replace(method.estimator, first_order=True, second_order_from=None)
    return replace(method, estimator=estimator, interactions=())


def meta_loss(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> Callable[[Params], float]:
    """Return the mean outer loss of the tasks as a function of all that is learned."""
    estimator = method.at(state.step).estimator
    assert isinstance(estimator, MAML)
    episodes = method.rule.arranged(episodes)
    count = tree.tasks_in(episodes)

    def loss(params: Params) -> float:
        stack = tree.expand(params, count)
        axis = TaskAxis(count, isolated=True)
        run = unroll(method, objective, stack, state.running, episodes, axis, create_graph=False)
        with torch.no_grad():
            run = query_losses(method, objective, tree.detached(run)._replace(episodes=episodes))
            own = tree.scope(state.running, "estimator")
            losses = estimator.outer_losses(method, objective, stack, run, own)
        return float(losses.mean())

    return loss


def _errors(
    found: Params, method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> list[float]:
    """Return the error of each directional derivative, relative to the largest of them."""
    loss = meta_loss(method, objective, state, episodes)
    at = state.params
    chosen = directions(at, DIRECTIONS)
    # a derivative that is 0 by symmetry has only rounding as differences
    floor = 1e-6 * abs(loss(at))
    slopes = [
        slope(lambda h, d=d: loss(along(at, d, h)), floor=floor)  # type: ignore[misc]
        for d in chosen
    ]
    own = [dot(found, d) for d in chosen]
    largest = max(map(abs, slopes), default=0.0)
    scale = max(largest, floor)
    if scale == 0:
        return [abs(a) for a in own]
    return [abs(a - b) / scale for a, b in zip(own, slopes, strict=True)]


def _worst(errors: list[float]) -> float:
    return math.nan if any(math.isnan(error) for error in errors) else max(errors)
