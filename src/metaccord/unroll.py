"""The inner loop: adapt T tasks side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from metaccord import keys
from metaccord.axis import TaskAxis
from metaccord.objective import Objective
from metaccord.tree import scope
from metaccord.types import Adaptation, Episode, Own, Params, Stacked

if TYPE_CHECKING:
    from metaccord.method import Method


def owns(stack: Stacked, running: Params) -> Own:
    """Return the interaction's tensors."""
    return Own(scope(stack, "interaction"), scope(running, "interaction"))


def dropout_key(objective: Objective, episodes: Episode, step: int) -> Tensor | None:
    """Return the seeds of the dropout masks at inner step ``step``: ``[T]``, or None."""
    key = episodes.extra.get("dropout") if objective.draws else None
    return None if key is None else keys.mix(key, step)


def met(method: Method, stack: Stacked, run: Adaptation, step: int) -> Stacked:
    """Return the model's tensors as losses meet them after ``step`` inner steps: ``[T, ...]``.

    Args:
        method: Its rule may change what stays from step to step.
        stack: All learned tensors, one row per task.
        run: With the whole path, of which ``step`` is an index; nothing is corrected.
        step: Number of inner steps done.
    """
    still = {k: v for k, v in scope(stack, "model").items() if k not in run.initial}
    return {**method.rule.at(scope(stack, "rule"), still, step), **run.path[step]}


def query_losses(method: Method, objective: Objective, run: Adaptation) -> Adaptation:
    """Return the run with its query losses at the solution, and features if they are needed."""
    key, batch = dropout_key(objective, run.episodes, method.rule.steps), run.episodes.query
    if "features" in method.needs:
        losses, features = objective.losses_with_features(run.solution, batch, key)
        return run._replace(losses=losses, features=features)
    return run._replace(losses=objective.losses(run.solution, batch, key))


def unroll(
    method: Method,
    objective: Objective,
    stack: Stacked,
    running: Params,
    episodes: Episode,
    axis: TaskAxis,
    *,
    create_graph: bool,
    keep: frozenset[str] | None = None,
) -> Adaptation:
    """Adapt each row of the stack to its own support set.

    Args:
        method: Its rule moves the parameters; its interaction may share gradients on the way.
        objective: Gives the support losses.
        stack: All learned tensors, one row per task, ``[T, ...]``.
        running: Statistics of earlier meta-steps.
        episodes: Data of T tasks, arranged by the rule.
        axis: The tasks that meet.
        create_graph: Keep the graph of inner gradients, for second order.
        keep: What the run keeps, of ``"path"`` and ``"grads"``; None: what the method needs.

    Returns:
        The run, with the solution where query losses are taken and no query losses yet.
    """
    own, learned = owns(stack, running), scope(stack, "rule")
    rule, interaction, plan = method.rule, method.interaction, objective.plan
    params, still = rule.divide(scope(stack, "model"), objective.groups)
    needs = method.needs if keep is None else keep

    def one_step(
        params: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked, Stacked, Tensor]:
        batch, key = rule.part(episodes.support, step), dropout_key(objective, episodes, step)
        here = rule.at(learned, still, step)

        def total(moving: Stacked) -> tuple[Tensor, Tensor]:
            losses = objective.losses({**here, **moving}, batch, key)  # [T]
            return losses.sum(), losses.detach()

        grads, losses = plan.rows(total, params, create_graph=create_graph)  # [T, ...]
        shared = rule.clipped(interaction.share(own, grads, step, axis))  # place 1
        return *rule.update(learned, params, shared, carry, step), grads, losses

    one_step = plan.remember(one_step) if create_graph else one_step
    carry, path = rule.begin(params, scope(running, "rule")), [params]
    grads, support = [], []
    for step in range(rule.steps):
        params, carry, used, losses = one_step(params, carry, step)
        path = [*path, params] if "path" in needs else [path[0], params]
        support.append(losses)
        if "grads" in needs:
            grads.append(used)
    last = rule.at(learned, still, rule.steps)
    run = Adaptation(tuple(path), tuple(grads), carry, {**last, **params}, episodes, tuple(support))
    corrected = interaction.correct(own, params, run, axis)  # place 2
    return run._replace(solution={**last, **corrected})
