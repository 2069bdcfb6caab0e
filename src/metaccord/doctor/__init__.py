"""Checking a user's own model, loss and tasks before they are trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from metaccord import tree
from metaccord.differences import Wide, doubled, widened
from metaccord.doctor.diagnosis import certified
from metaccord.doctor.findings import Certificate, Finding, Report
from metaccord.doctor.kinds import KINDS, Kind
from metaccord.doctor.learning import of_learning, of_outputs
from metaccord.doctor.modules import of_forward, of_modules, repeats
from metaccord.doctor.setups import TASKS, of_episodes, of_source
from metaccord.engine import Plan
from metaccord.errors import UsageError
from metaccord.inspection import forward, idle
from metaccord.method import Method, initialise
from metaccord.methods import maml
from metaccord.objective import Objective
from metaccord.tasks import TaskSource
from metaccord.tuning import probe, settled
from metaccord.types import Episode, MetaState
from metaccord.uneven import singles

__all__ = ["KINDS", "Certificate", "Finding", "Kind", "Report", "check"]


def check(
    model: nn.Module,
    criterion: Callable[[Any, Any], Tensor],
    method: Method | None = None,
    tasks: TaskSource | Episode | None = None,
    *,
    plan: Plan | None = None,
    unused: tuple[str, ...] = (),
    state: MetaState | None = None,
) -> Report:
    """Check a model, a criterion, a method and tasks together; nothing is changed.

    The meta-gradient of a few tasks is compared, on a float64 copy, with a plain loop of
    ``torch.autograd`` and with finite differences. The modules, one forward pass, the inner loop
    and the tasks are searched for known faults, each with a code and a remedy.

    Args:
        model: Any module, as for :class:`metaccord.Objective`.
        criterion: ``criterion(outputs, targets) -> []``.
        method: What will be trained; None: MAML as it comes.
        tasks: A source, of which steps and splits are compared as well, or one episode
            ``[T, n, ...]``; more tasks show more.
        plan: How to execute.
        unused: Names of trainable parameters that are known to receive no gradient.
        state: A meta-trained state; None: the model as it is.

    Returns:
        Findings, most serious first, and the certificate.

    Raises:
        UsageError: without tasks, or for a method that does not fit the model.

    Example:
        >>> import metaccord as mc
        >>> from metaccord.doctor import check
        >>> check(mc.models.MLP(), mc.losses.mse, tasks=mc.tasks.Sinusoid()).healthy
        True
    """
    if tasks is None:
        raise UsageError("check needs tasks: a source such as Sinusoid(), or an Episode")
    method = method or maml()
    wide = _wide(model)
    plan = replace(plan or Plan(), compile=False, autocast=False, memory=None)
    objective = settled(Objective(model, criterion, plan, unused=unused))
    found = [] if isinstance(tasks, Episode) else of_source(tasks)
    episodes = tasks if isinstance(tasks, Episode) else tasks.episodes("train", 0, range(TASKS))
    episodes = tree.to(episodes, objective.place())
    found += of_episodes(episodes) + of_modules(model, objective)
    state = state or initialise(method, objective)
    params = tree.scope(state.params, "model")
    single = singles(episodes)
    try:
        loss, live = forward(objective, params, single[0])
    except UsageError as error:
        return _report([*found, Finding("does_not_run", str(error))])
    if names := idle(objective, live, loss):
        said = f"no gradient reaches {', '.join(names[:6])} ({len(names)} in all)"
        return _report([*found, Finding("no_gradient", said)])
    if hidden := repeats(objective, params, single[0].support):
        return _report([*found, *hidden])
    if len(single) > 1 and objective.plan.chunk != 1:
        probe(objective, state, episodes)
    found += of_forward(objective, params, single[0].support)
    found += of_outputs(objective, params, single)
    found += of_learning(method, objective, state, episodes)
    if isinstance(wide, str):
        return _report([*found, Finding("uncertified", wide)])
    twin = settled(Objective(wide, _wide_criterion(criterion), plan, unused=unused))
    with Wide():
        more, certificate = certified(method, twin, widened(state), widened(episodes))
    return _report([*found, *more], certificate)


def _wide(model: nn.Module) -> nn.Module | str:
    """Return a float64 copy, made before anything runs, or why there is none."""
    try:
        return doubled(model)
    except (RuntimeError, TypeError) as error:
        return f"the model cannot be copied: {' '.join(str(error).split())[:160]}"


def _wide_criterion(criterion: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return doubled(criterion) if isinstance(criterion, nn.Module) else criterion


def _report(findings: list[Finding], certificate: Certificate | None = None) -> Report:
    order = ("fault", "warning", "notice")
    unique = list(dict.fromkeys(findings))
    return Report(tuple(sorted(unique, key=lambda f: order.index(f.level))), certificate)
