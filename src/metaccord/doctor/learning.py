"""Faults that show when the model adapts to tasks: explosions, no gain, dead heads, leaks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.doctor.findings import Finding
from metaccord.doctor.setups import classified
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.tuning import settled
from metaccord.types import Adaptation, Episode, MetaState, Params
from metaccord.uneven import cut, singles
from metaccord.unroll import unroll

_SURE = 5.0  # standard errors above chance
_EXPLODED = 10.0  # times the loss before the inner loop
_GAIN = 1e-6  # of the loss before the inner loop


def adapted(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> Adaptation:
    """Return the inner loops of isolated tasks, without graph and dropout."""
    axis = TaskAxis(tree.tasks_in(episodes), isolated=True)
    bare = episodes._replace(extra={k: v for k, v in episodes.extra.items() if k != "dropout"})
    stack = tree.expand(state.params, axis.count)
    run = unroll(
        method,
        settled(objective),
        stack,
        state.running,
        method.rule.arranged(bare),
        axis,
        create_graph=False,
    )
    return tree.detached(run)


def of_learning(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> list[Finding]:
    """Return what is wrong with the inner loop and its result."""
    objective, run = settled(objective), adapted(method, objective, state, episodes)
    start = tree.expand(tree.scope(state.params, "model"), tree.tasks_in(episodes))
    with torch.no_grad():
        before = objective.losses(start, episodes.support)
        after = objective.losses(run.solution, episodes.support)
    found = _descent(method, before, after)
    if any(finding.code == "exploding_step" for finding in found):
        return found
    ends = list(zip(tree.unbind(run.solution), singles(episodes), strict=True))
    if all(_constant(objective, params, task) for params, task in ends):
        found.append(
            Finding("dead_head", "after the inner loop the outputs are the same for all queries")
        )
    return found + _known_before(objective, tree.first(start), singles(episodes))


def of_outputs(objective: Objective, params: Params, tasks: list[Episode]) -> list[Finding]:
    """Return what is wrong with the outputs and the criterion at the initialisation."""
    batch = tasks[0].support
    with torch.no_grad():
        outputs = cut(objective.predict(params, batch.inputs), batch.ways)
        if not isinstance(outputs, Tensor) or not isinstance(batch.targets, Tensor):
            return []
        found = _criterion_faults(objective, outputs, batch.targets)
        count = len(batch.targets) if batch.targets.dim() else 0
        leaves = pytree.tree_leaves(batch.inputs)
        if count < 2 or any(not leaf.dim() or len(leaf) != count for leaf in (*leaves, outputs)):
            return found
        turned = tree.mapped(lambda leaf: leaf.flip(0), batch.inputs)
        back = cut(objective.predict(params, turned), batch.ways).flip(0)
        gap = (back - outputs).abs().max()
    if gap > 1e-6 * outputs.abs().max():
        orders = {tuple(task.query.targets.flatten().tolist()) for task in tasks}
        same = len(tasks) > 1 and len(orders) == 1 and classified(batch.targets)
        end = ", and labels stand in the same order in every task" if same else ""
        code = "sorted_labels" if same else "sees_order"
        found.append(
            Finding(code, f"an output depends on the place of its example in the batch{end}")
        )
    return found


def _criterion_faults(objective: Objective, outputs: Tensor, targets: Tensor) -> list[Finding]:
    found = []
    loss = float(objective.criterion(outputs, targets))
    if outputs.dim() and targets.dim() and len(outputs) == len(targets):
        twice = float(objective.criterion(torch.cat([outputs] * 2), torch.cat([targets] * 2)))
        if loss and abs(twice - 2 * loss) <= 1e-6 * abs(loss):
            found.append(Finding("not_mean", "twice the examples give twice the loss: a sum"))
    if outputs.dim() == 2 and outputs.shape[1] > 1 and classified(targets):
        sums = outputs.sum(1)
        if (outputs >= 0).all() and (sums - 1).abs().max() < 1e-6:
            entropy = float(F.cross_entropy(outputs, targets))
            if abs(loss - entropy) <= 1e-6 * entropy:
                found.append(Finding("softmax_twice", "the outputs are probabilities, not logits"))
    return found


def _descent(method: Method, before: Tensor, after: Tensor) -> list[Finding]:
    """Compare support losses ``[T]`` before and after the inner loop."""
    if method.rule.steps == 0:
        return []
    first, last = float(before.mean()), float(after.mean())
    said = f"{method.rule.steps} inner steps take the support loss from {first:.4g} to {last:.4g}"
    limit = before.abs().mean() * _EXPLODED
    if not after.isfinite().all() or (after - before).mean() > limit:
        return [Finding("exploding_step", said)]
    if first - last <= _GAIN * abs(first):
        return [Finding("no_gain", said)]
    return []


def _constant(objective: Objective, params: Params, task: Episode) -> bool:
    """Say whether one task's outputs ignore the inputs although the targets differ."""
    targets: Any = task.query.targets
    with torch.no_grad():
        outputs = objective.predict(params, task.query.inputs)
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return False
    if outputs.dim() == 0 or targets.dim() == 0 or len(outputs) != len(targets) or len(targets) < 2:
        return False
    varied = bool((targets != targets[:1]).any())
    spread = (outputs - outputs[:1]).abs().max()
    return varied and bool(spread <= 1e-9 * outputs.abs().max())


def _known_before(objective: Objective, params: Params, tasks: list[Episode]) -> list[Finding]:
    """Ask whether labels are known before any support example was seen."""
    if len(tasks) < 8 or not all(classified(task.query.targets) for task in tasks):
        return []
    with torch.no_grad():
        above = []
        for task in tasks:
            outputs = cut(objective.predict(params, task.query.inputs), task.query.ways)
            if not isinstance(outputs, Tensor) or outputs.dim() != 2:
                return []
            right = (outputs.argmax(1) == task.query.targets).double().mean()
            counts = torch.bincount(task.query.targets)
            above.append(right - counts.max() / counts.sum())
    gaps = torch.stack(above)
    mean, error = float(gaps.mean()), float(gaps.std() / len(gaps) ** 0.5)
    if mean > 0.05 and mean > _SURE * error:
        return [Finding("known_before", f"before adaptation accuracy is {mean:.0%} above chance")]
    return []
