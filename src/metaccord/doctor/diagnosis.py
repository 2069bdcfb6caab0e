"""The certificate, and why it failed."""

from __future__ import annotations

from metaccord import tree
from metaccord.derivatives import Derivatives, derivatives
from metaccord.differences import relative
from metaccord.doctor.certificate import certify, first_order, gradient, is_differentiated
from metaccord.doctor.findings import Certificate, Finding
from metaccord.doctor.modules import cuts
from metaccord.inspection import differentiates_twice
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.types import Episode, MetaState, Params
from metaccord.uneven import singles

TASKS = 3


def certified(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> tuple[list[Finding], Certificate | None]:
    """Return the certificate of a few tasks, and what is behind a failure.

    Args:
        method: What will be trained.
        objective, state, episodes: In float64.
    """
    few = tree.mapped(lambda leaf: leaf[:TASKS], episodes)
    lost = _not_finite(method, objective, state, few)
    if lost:
        return [Finding("not_finite", f"the meta-gradient of {', '.join(lost[:4])}")], None
    params, task = tree.scope(state.params, "model"), singles(few)[0]
    key = task.extra.get("dropout") if objective.draws else None
    try:
        found = derivatives(objective, params, task.support, key)
    except (RuntimeError, TypeError) as error:
        said = f"it does not run in float64: {' '.join(str(error).split())[:160]}"
        return [Finding("uncertified", said)], None
    causes = _causes(method, objective, params, task, found)
    if found.refused and differentiates_twice(method):
        return causes, None
    certificate = certify(method, objective, state, few)
    if not certificate.passed and not causes:
        causes = [_failure(method, objective, state, few, certificate)]
    if certificate.loop is None and certificate.differences is None:
        causes.append(Finding("uncertified", str(certificate)))
    return causes, certificate


def _causes(
    method: Method, objective: Objective, params: Params, task: Episode, found: Derivatives
) -> list[Finding]:
    if found.cut:
        places = cuts(objective, params, task.support)
        where = f" (seen: {', '.join(places[:4])})" if places else ""
        names = ", ".join(found.tensors[:4]) or "the parameters together"
        said = f"the loss's gradient is off by {found.first:.1e} in {names}{where}"
        return [Finding("cut_gradient", said)]
    if not differentiates_twice(method):
        return []
    if found.refused:
        return [Finding("once_differentiable", found.refused)]
    if found.bent:
        said = f"the loss's gradient is right, its derivative is off by {found.second:.1e}"
        return [Finding("second_derivative", said)]
    return []


def _failure(
    method: Method,
    objective: Objective,
    state: MetaState,
    episodes: Episode,
    certificate: Certificate,
) -> Finding:
    own = gradient(method, objective, state, episodes)
    if is_differentiated(method.at(state.step)):
        plain = gradient(first_order(method.at(state.step)), objective, state, episodes)
        if relative(own, plain) < Certificate.LOOP:
            return Finding("first_order", f"the meta-gradient is FOMAML's; {certificate}")
    return Finding("wrong_gradient", str(certificate))


def _not_finite(
    method: Method, objective: Objective, state: MetaState, episodes: Episode
) -> list[str]:
    """Return the names of meta-gradients that are not finite; none if it cannot be taken."""
    try:
        found = gradient(method, objective, state, episodes)
    except (RuntimeError, TypeError):  # said with more words later
        return []
    return [name for name, leaf in found.items() if not leaf.isfinite().all()]
