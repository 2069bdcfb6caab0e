"""Trajectory coherence: equal to the slow twin, its geometry, its limits and its notes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions import Coherence
from metaccord.methods import anil, boil, coherent, fomaml, maml, reptile
from metaccord.types import Adaptation, Episode, Own, Params, Stacked
from tests import cases, tolerances
from tests.interactions.support import once, same
from tests.reference import coherence as twin
from tests.reference.compare import relative_error
from tests.reference.inner import adapt

BASES = {
    "maml": maml(steps=3, lr=0.2),
    "fomaml": fomaml(steps=3, lr=0.2),
    "anil": anil(steps=2, lr=0.2),
    "boil": boil(steps=2, lr=0.2),
    "reptile": reptile(steps=3, lr=0.2, batch=4),
}
READINGS = ("rotate", "shift")


def bent(base: mc.Method, **options: Any) -> mc.Method:
    return base.with_interaction(Coherence(**options))


def slowly(
    method: mc.Method, goal: mc.Objective, found: Episode
) -> tuple[list[Params], list[Params]]:
    """Return rows and corrected solutions."""
    part, params = method.interactions[0], {k: v.detach() for k, v in goal.trainable().items()}
    assert isinstance(part, Coherence)
    tasks, lr = cases.twin_tasks(method, found), method.rule.lr
    bend: dict[str, Any] = {
        "reading": part.reading,
        "moves": method.rule.divide(params, goal.groups)[0].__contains__,
    }
    net = (goal.model, goal.criterion, params)
    ends = [
        adapt(*net, t.batches, lr, moves=bend["moves"], create_graph=False).path[-1] for t in tasks
    ]
    hats = twin.corrected_solutions(params, ends, part.rate, **bend)
    if method.name == "reptile":
        return twin.coherent_reptile_rows(*net, tasks, lr, part.rate, **bend), hats
    bend |= {"through": "everything" if part.differentiate else "nothing"}
    bend |= {"first_order": method.name == "fomaml"}
    return twin.coherence_rows(*net, tasks, lr, part.rate, **bend), hats


@pytest.mark.parametrize("net", ["batchnorm2d", "layernorm", "tied"])
@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("base", BASES)
def test_rows_and_solutions_equal_the_slow_twin(
    base: str, reading: Any, differentiate: bool, net: str
) -> None:
    """Differentiated means through everything, the mean direction included."""
    goal, found = cases.objective(net), cases.episodes(net)
    for rate in (0.4, 2.0):
        method = bent(BASES[base], rate=rate, reading=reading, differentiate=differentiate)
        step = once(method, goal, found)
        rows, hats = map(cases.stacked, slowly(method, goal, found))
        assert relative_error(cases.model_rows(step.rows), rows) <= tolerances.TWIN_F64
        mean = {k: v.mean(0) for k, v in rows.items()}
        assert relative_error(tree.scope(step.grads, "model"), mean) <= tolerances.TWIN_F64
        assert relative_error(step.run.solution, hats) <= tolerances.TWIN_F64


def test_readings_and_flows_are_told_apart() -> None:
    """The comparisons above would pass if a setting meant nothing."""
    goal, found = cases.objective("batchnorm1d"), cases.episodes("batchnorm1d")
    options = [{"rate": 1.0, "reading": r, "differentiate": d}
               for r in READINGS for d in (False, True)]  # fmt: skip
    rows = [once(BASES["maml"], goal, found).rows]
    rows += [once(bent(BASES["maml"], **option), goal, found).rows for option in options]
    for i, a in enumerate(rows):
        for b in rows[:i]:
            assert relative_error(a, b) > 1e-3


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("base", BASES)
def test_rate_zero_is_the_base_to_the_bit(base: str, reading: Any) -> None:
    goal, found = cases.objective("batchnorm2d"), cases.episodes("batchnorm2d")
    step, plain = (
        once(m, goal, found) for m in (bent(BASES[base], rate=0, reading=reading), BASES[base])
    )
    assert cases.same_bits((step.rows, step.run.solution), (plain.rows, plain.run.solution))


@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("base", ["maml", "fomaml"])
def test_who_agrees_already_is_not_turned(base: str, differentiate: bool) -> None:
    """One task and equal tasks are the base: u is the mean direction, and P u = 0."""
    goal, tasks = cases.objective("plain"), cases.episodes("plain")
    for found in (same(tasks, 1), same(tasks, 4)):
        method = bent(BASES[base], rate=1.5, differentiate=differentiate)
        step, plain = once(method, goal, found), once(BASES[base], goal, found)
        assert relative_error(step.run.solution, plain.run.solution) <= tolerances.TWIN_F64
        assert relative_error(step.rows, plain.rows) <= tolerances.TWIN_F64


def corrected(move: Tensor, axis: TaskAxis | None = None, **options: Any) -> Tensor:
    """Call the hook on displacements ``[T, P]`` in two tensors; return the corrected ones."""
    start = torch.full_like(move, 0.25)
    first, last = ({"a": p[:, :1], "b": p[:, 1:, None]} for p in (start, start + move))
    run = Adaptation((first, last), (), {}, last, None, ())
    found = Coherence(**options).correct(Own({}, {}), last, run, axis or TaskAxis(len(move)))
    return torch.cat([found["a"], found["b"][..., 0]], 1) - start


def draws(count: int, seed: int, size: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def cosines(move: Tensor, direction: Tensor) -> Tensor:
    return move @ direction / (move.norm(dim=1) * direction.norm())


@pytest.mark.parametrize("rate", [0.1, 1.0, 2.0])
def test_each_task_turns_towards_the_mean_direction(rate: float) -> None:
    """For every rate up to 2; and what is added is orthogonal to the displacement."""
    for seed in range(20):
        d = draws(4, seed)
        mean = (d / d.norm(dim=1, keepdim=True)).mean(0)
        turned = corrected(d, rate=rate)
        assert (cosines(turned, mean) > cosines(d, mean)).all()
        along = ((turned - d) * d).sum(1) / d.norm(dim=1) ** 2
        assert along.abs().max() <= 1e-12


def test_the_way_there_is_a_step_of_descent() -> None:
    """theta_i - gamma grad Omega_i with gamma = r |d|^2; shifted: - r grad of -d . mean d."""
    d, rate = draws(4, 0), 0.7
    mean = (d / d.norm(dim=1, keepdim=True)).mean(0)
    at = d.clone().requires_grad_()
    omega = -(at @ mean / at.norm(dim=1)).sum()
    (grad,) = torch.autograd.grad(omega, at)
    expected = d - rate * d.norm(dim=1, keepdim=True) ** 2 * grad
    assert relative_error(corrected(d, rate=rate), expected) <= tolerances.TWIN_F64
    shifted = corrected(d, rate=rate, reading="shift")
    assert relative_error(shifted, d + rate * d.mean(0)) <= tolerances.TWIN_F64


def test_a_common_scale_scales_the_correction() -> None:
    d = draws(4, 1)
    for reading in READINGS:
        plain, scaled = (corrected(s * d, rate=0.7, reading=reading) for s in (1.0, 1e-3))
        assert relative_error(scaled, 1e-3 * plain) <= 1e-10


@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("reading", READINGS)
def test_who_does_not_move_is_finite(reading: Any, differentiate: bool) -> None:
    """Nobody moves; one of three does not; gradients through lengths of zero included."""
    for d in (torch.zeros(3, 5).double(), draws(3, 2) * torch.tensor([[1.0], [0.0], [2.0]])):
        at = d.clone().requires_grad_()
        found = corrected(at, rate=0.5, reading=reading, differentiate=differentiate)
        (grad,) = torch.autograd.grad(found.square().sum() + found.sum(), at)
        assert all(v.isfinite().all() for v in (found, grad))
        if reading == "rotate":
            still = ~d.any(1)
            assert torch.equal(found[still], d[still]), "a length of zero gives no correction"


@pytest.mark.parametrize("differentiate", [False, True])
def test_no_steps_no_correction(differentiate: bool) -> None:
    method = bent(maml(steps=0), differentiate=differentiate)
    step, plain = cases.step(method, "plain"), cases.step(maml(steps=0), "plain")
    assert cases.same_bits((step.rows, step.run.solution), (plain.rows, plain.run.solution))
    assert all(v.isfinite().all() for v in step.notes.values())


def test_isolated_tasks_are_left_alone() -> None:
    d = draws(3, 4)
    for reading in READINGS:
        kept = corrected(d, TaskAxis(3, isolated=True), rate=1.0, reading=reading)
        assert torch.equal(kept, corrected(d, rate=0))
    goal, found = cases.objective("plain"), cases.episodes("plain")
    state = mc.initialise(maml(), goal)
    runs = [mc.adapt(m, goal, state, found) for m in (bent(BASES["maml"], rate=2), BASES["maml"])]
    assert cases.same_bits(runs[0].solution, runs[1].solution)


def pairwise(ends: Stacked, start: Stacked) -> float:
    """Mean cosine over pairs of different tasks, one pair at a time."""
    moves = tree.flat(tree.difference(ends, start))
    units = moves / moves.norm(dim=1, keepdim=True)
    count = len(units)
    found = [float(units[i] @ units[j]) for i in range(count) for j in range(count) if i != j]
    return sum(found) / len(found)


@pytest.mark.parametrize("rate", [0.1, 1.0, 2.0])
def test_notes_are_mean_cosines_before_and_after(rate: float) -> None:
    for reading in READINGS:
        step = cases.step(bent(BASES["maml"], rate=rate, reading=reading), "batchnorm2d")
        run = step.run
        final = {k: run.solution[k] for k in run.adapted}
        before, after = (step.notes[f"coherent.{k}"].item() for k in ("cosine", "corrected"))
        assert before == pytest.approx(pairwise(run.adapted, run.initial), abs=1e-12)
        assert after == pytest.approx(pairwise(final, run.initial), abs=1e-12)
        assert after > before


def test_notes_of_one_task_and_of_equal_tasks() -> None:
    goal, tasks = cases.objective("plain"), cases.episodes("plain")
    for count, expected in ((1, 0.0), (4, 1.0)):
        notes = once(bent(maml(steps=2)), goal, same(tasks, count)).notes
        for name in ("coherent.cosine", "coherent.corrected"):
            assert notes[name].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_notes_of_tasks_that_stay_are_zero(count: int) -> None:
    notes = cases.step(bent(maml(steps=0)), "plain", count=count).notes
    assert notes["coherent.cosine"].item() == notes["coherent.corrected"].item() == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"rate": -0.1}, "coherent.rate is -0.1: it must be finite, 0 or more"),
        ({"rate": float("nan")}, "coherent.rate is nan"),
        ({"rate": float("inf")}, "coherent.rate is inf"),
        ({"reading": "rotation"}, "unknown coherent.reading 'rotation': did you mean 'rotate'"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        Coherence(**options)
    assert "\n" not in str(caught.value)


def test_the_wrapper_passes_its_settings() -> None:
    (part,) = coherent(maml(), rate=0.3, reading="shift").interactions
    assert part == Coherence(rate=0.3, reading="shift")


@pytest.mark.parametrize("through", [False, True])
def test_as_a_loss_it_equals_plain_autograd(through: bool) -> None:
    """Query losses minus r u_i times the mean direction, through two inner steps."""
    rate, lr = 0.7, 0.2
    method = coherent(maml(steps=2, lr=lr), reading="loss", rate=rate, differentiate=through)
    goal, found = cases.objective("layernorm"), cases.episodes("layernorm")
    state = mc.initialise(method, goal)
    fast = mc.meta_gradient(method, goal, state, found)
    theta = {k: v.clone().requires_grad_() for k, v in tree.scope(state.params, "model").items()}
    losses, units = [], []
    for task in cases.twin_tasks(method, found):
        now = dict(theta)
        for batch in task.batches:
            loss = goal.loss(now, mc.Batch(*batch))
            grads = torch.autograd.grad(loss, list(now.values()), create_graph=True)
            now = {k: v - lr * g for (k, v), g in zip(now.items(), grads, strict=True)}
        losses.append(goal.loss(now, mc.Batch(*task.query)))
        move = torch.cat([(now[k] - theta[k]).flatten() for k in sorted(now)])
        units.append(move / move.norm())
    mean = torch.stack(units).mean(0)
    mean = mean if through else mean.detach()
    total = sum(loss - rate * unit @ mean for loss, unit in zip(losses, units, strict=True))
    slow = torch.autograd.grad(total / len(losses), list(theta.values()))
    for name, grad in zip(theta, slow, strict=True):
        torch.testing.assert_close(fast.grads[f"model.{name}"], grad, rtol=1e-10, atol=1e-13)


def test_as_a_loss_it_needs_query_losses() -> None:
    with pytest.raises(UsageError, match="coherent has no meaning over reptile: it takes no query"):
        coherent(mc.methods.reptile(), reading="loss")
    assert coherent(mc.methods.reptile()).label == "reptile+coherent"
