"""The meta-step in metaccord, on the path that ``metaccord.train`` takes."""

from __future__ import annotations

from collections.abc import Callable

from peers import Grads
from problems import Problem

import metaccord as mc
from metaccord import tuning
from metaccord.step import traced
from metaccord.types import Params


def prepared(
    problem: Problem, plan: mc.Plan, *, agreement: bool = False
) -> tuple[Callable[[], Grads], mc.Plan]:
    """Return a step and the plan that it settled on.

    All parameters move in the inner loop, as they do in the peers.

    Args:
        problem: What is computed.
        plan: An ``"auto"`` chunk is measured first, as in a training.
        agreement: Weigh tasks by Gradient Agreement instead of taking the plain mean.
    """
    method = mc.methods.maml(problem.steps, problem.lr, never=())
    if agreement:
        method = mc.methods.gradient_agreement(method)
    objective = mc.Objective(problem.copied(), problem.criterion, plan)
    state = mc.initialise(method, objective)
    episodes = method.rule.arranged(problem.episodes)
    plan = mc.tune(method, objective, state, episodes)
    objective = tuning.settled(objective.planned(plan))
    axis = mc.TaskAxis(problem.count)

    def compute(params: Params, running: Params, data: mc.Episode) -> mc.types.MetaStep:
        return traced(method, objective, mc.MetaState(params, running), data, axis)

    compute = objective.plan.accelerate(compute)

    def step() -> Grads:
        found = compute(state.params, state.running, episodes).grads
        return {name.removeprefix("model."): grad for name, grad in found.items()}

    return step, objective.plan
