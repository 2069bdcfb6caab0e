"""One meta-step's gradient, in a straight line."""

from __future__ import annotations

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.tuning import settled
from metaccord.types import Episode, MetaState, MetaStep
from metaccord.unroll import owns


def meta_gradient(
    method: Method,
    objective: Objective,
    state: MetaState,
    episodes: Episode,
    axis: TaskAxis | None = None,
) -> MetaStep:
    """Return the meta-gradient of a batch of tasks, its per-task rows and the run.

    Args:
        method: Rule, estimator and interactions.
        objective: Model, criterion and plan.
        state: Learned and running tensors; not changed.
        episodes: Data of the T tasks of this process, ``[T, n, ...]``.
        axis: The tasks that meet; None: all of these.

    Returns:
        ``grads`` [...] for the optimiser and ``rows`` [T, ...] with the same names. Without
        coupling inside the inner loop, row i is exactly the meta-gradient of task i after
        ``reconcile``.

    Raises:
        UsageError: if the episodes disagree about the number of tasks.

    Example:
        >>> import metaccord as mc
        >>> tasks = mc.tasks.Sinusoid()
        >>> objective = mc.Objective(mc.models.MLP(), mc.losses.mse)
        >>> method = mc.methods.maml(steps=1, lr=0.01)
        >>> state = mc.initialise(method, objective, seed=0)
        >>> step = mc.meta_gradient(method, objective, state, tasks.episodes("train", 0, range(4)))
        >>> step.rows["model.head.weight"].shape
        torch.Size([4, 1, 40])
    """
    counts = tree.common_length(episodes)
    axis = axis or TaskAxis(max(counts))
    if counts != {axis.local}:
        raise UsageError(
            f"episodes hold {sorted(counts)} tasks in their tensors but TaskAxis.count is "
            f"{axis.local}: every tensor needs the task axis first, and one length"
        )
    episodes = method.rule.arranged(episodes)
    return traced(method.at(state.step), settled(objective), state, episodes, axis)


def traced(
    method: Method, objective: Objective, state: MetaState, episodes: Episode, axis: TaskAxis
) -> MetaStep:
    """Return the same from arguments that were checked: the part that compiles."""
    rows, run = method.estimator.task_gradients(method, objective, state, episodes, axis)
    own = owns(tree.expand(state.params, axis.local), state.running)
    rows, notes = method.interaction.reconcile(own, rows, run, axis)  # place 4
    kept, more = method.interaction.observe(own, run, axis)
    running = {
        **tree.under(method.rule.observe(run.carry, axis), "rule"),
        **tree.under(method.estimator.observe(tree.scope(state.running, "estimator")), "estimator"),
        **tree.under(kept, "interaction"),
    }
    seen = {k: axis.everyone(v) for k, v in run.notes.items()}
    notes = {**tree.under(seen, "estimator"), **notes, **more}
    grads = tree.first(axis.mean(rows))  # the only average
    return MetaStep(grads, rows, {**state.running, **running}, run, notes)
