"""The twins of co-learner, coherence and all together, against algebra and at their limits."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.reference import coherence, combined, interactions, loops, quadratics
from tests.reference.cases import COLEARNER, LR, Case, agrees, rows
from tests.reference.compare import relative_error
from tests.reference.modules import flat


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("first_order", [True, False])
def test_colearner(first_order: bool, steps: int) -> None:
    """(M^K)^T (q + gamma Phi^T e) and gamma e w_K^T; without gamma MAML to the bit."""
    case, gamma = Case(7, steps), 0.7
    found = case.cooperative(gamma, first_order=first_order)
    mix = interactions.blend(np.zeros(1), np.zeros(1), [], steps, additive=True)
    run = interactions.share_forward(case.quadratics, case.theta, LR, mix)
    w = run.points[-1]
    extra, by_phi = interactions.colearner_adjoint(w, case.phi, case.targets, gamma)
    p = interactions.query_gradients(case.quadratics, w) + extra
    back = interactions.share_backward(case.quadratics, LR, mix, run, p, first_order=first_order)
    assert agrees(rows(found.rows), back.rows)
    assert agrees(torch.stack([row["weight"] for row in found.colearner_rows]), by_phi)
    errors = np.square(w @ case.phi.T - case.targets).sum(1) / 2
    assert agrees(torch.stack(found.colearner_losses), errors)
    base = loops.fomaml_rows if first_order else loops.maml_rows
    off = case.cooperative(0.0, first_order=first_order)
    assert torch.equal(rows(off.rows), rows(case.twin(base)))
    assert not rows(off.colearner_rows).any()


@pytest.mark.parametrize("through", ["nothing", "own", "everything", "first order"])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("reading", ["rotate", "shift"])
def test_coherence(reading: Literal["rotate", "shift"], steps: int, through: Any) -> None:
    """Both readings, with a constant correction and through it."""
    case, rate = Case(8, steps), 0.3
    options: dict[str, Any] = {"through": through, "reading": reading}
    if through == "first order":
        options |= {"through": "everything", "first_order": True}
    found = case.twin(coherence.coherence_rows, rate, **options)
    hats, closed = interactions.coherence(case.quadratics, case.theta, LR, steps, rate, **options)
    twin_hats = coherence.corrected_solutions(case.params, case.solutions(), rate, reading)
    assert agrees(rows(twin_hats), hats)
    assert agrees(rows(found), closed)
    reptile = case.twin(coherence.coherent_reptile_rows, rate, reading=reading)
    assert agrees(rows(reptile), case.theta - hats)


@pytest.mark.parametrize("reading", ["rotate", "shift"])
def test_coherence_at_its_limits(reading: Literal["rotate", "shift"]) -> None:
    """No rate or no step: MAML to the bit. Reading A also with one task or equal tasks."""
    for case, rate in ((Case(9, 3), 0.0), (Case(9, 0), 0.5)):
        for base, first in ((loops.maml_rows, False), (loops.fomaml_rows, True)):
            options = {"reading": reading, "first_order": first}
            found = case.twin(coherence.coherence_rows, rate, **options)
            assert torch.equal(rows(found), rows(case.twin(base)))
    case = Case(9, 3)
    for tasks in ([case.tasks[0]], [case.tasks[0]] * 3):
        case.tasks = tasks
        row = case.twin(coherence.coherence_rows, 0.5, reading=reading)[0]
        plain = case.twin(loops.maml_rows)[0]
        same = relative_error(flat(row), flat(plain)) <= tolerances.TWIN_F64
        assert same == (reading == "rotate")


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 2.0])
def test_rotation_raises_the_cosine(rate: float) -> None:
    """Every task turns toward the mean direction; a task that did not move stays."""
    case = Case(10, 3, num_tasks=4)
    solutions = [*case.solutions(), case.params]
    hats = coherence.corrected_solutions(case.params, solutions, rate)
    units = interactions.unit_rows((rows(solutions) - flat(case.params)).numpy())
    turned = interactions.unit_rows((rows(hats) - flat(case.params)).numpy())
    mean = units.mean(0)
    assert (turned[:-1] @ mean > units[:-1] @ mean).all()
    assert torch.equal(flat(hats[-1]), flat(case.params))


@pytest.mark.parametrize("first_order", [True, False])
def test_everything_together(first_order: bool) -> None:
    """Sharing, weights before the bend, bend, co-learner; every row times N w_i, one mean."""
    case, rate, gamma = Case(11, 3, num_tasks=4), 0.3, 0.7
    found = together(case, rate=rate, gamma=gamma, first_order=first_order)
    mix = interactions.blend(case.share, case.past, case.history, 3)
    run = interactions.share_forward(case.quadratics, case.theta, LR, mix)
    d = run.points[-1] - case.theta
    factors = 4 * quadratics.agreement_weights(d)
    hats = run.points[-1] + interactions.corrections(d, rate, "rotate")
    extra, by_phi = interactions.colearner_adjoint(hats, case.phi, case.targets, gamma)
    p = interactions.query_gradients(case.quadratics, hats) + extra
    back = interactions.share_backward(case.quadratics, LR, mix, run, p, first_order=first_order)
    assert agrees(found.weights, factors / 4)
    assert agrees(rows(found.rows), factors[:, None] * back.rows)
    assert agrees(flat(found.grads), factors @ back.rows / 4)
    assert agrees(found.coefficient_grads["share"], factors @ back.share / 4)
    assert agrees(found.coefficient_grads["past"], factors @ back.past / 4)
    closed = np.tensordot(factors, by_phi, 1) / 4
    assert agrees(found.colearner_grads["weight"], closed)


def together(case: Case, *, rate: float, gamma: float, first_order: bool) -> combined.Combined:
    """All four interactions."""
    found: combined.Combined = case.twin(
        combined.combined_step,
        sharing=combined.Sharing(case.coefficients, case.memory),
        cooperation=combined.Cooperation(COLEARNER, case.weights, gamma),
        rate=rate,
        first_order=first_order,
    )
    return found


def test_each_alone_is_its_own_twin() -> None:
    """Leaving three out gives the fourth; leaving out all gives MAML."""
    case = Case(12, 3)
    step, off = combined.combined_step, {"agreement": False}
    mix = combined.Sharing(case.coefficients, case.memory, "additive", True)
    cooperation = combined.Cooperation(COLEARNER, case.weights, 0.7)
    alone = case.shared(mode="additive", differentiate=True)
    pairs = [
        (case.twin(step, **off), case.twin(loops.maml_rows)),
        (case.twin(step, sharing=mix, **off), alone.rows),
        (case.twin(step, cooperation=cooperation, **off), case.cooperative(0.7).rows),
        (case.twin(step, rate=0.3, **off), case.twin(coherence.coherence_rows, 0.3)),
    ]
    for found, twin in pairs:
        assert relative_error(rows(found.rows), rows(twin)) <= tolerances.TWIN_F64
    agreement = flat(case.twin(loops.agreement_step_maml))
    assert relative_error(flat(case.twin(step).grads), agreement) <= tolerances.TWIN_F64
