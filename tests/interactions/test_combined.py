"""All four interactions at once: equal to the slow twin, in every order and in every plan."""

from __future__ import annotations

import logging
from itertools import permutations
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.interactions import Coherence, CoLearner, GradientAgreement, GradientSharing
from metaccord.methods import WRAPPERS, anil, fomaml, maml
from metaccord.types import Episode, Params
from tests import cases, tolerances
from tests.interactions.support import after, colearner, moved, once, own, started
from tests.reference import combined as twin
from tests.reference import sharing
from tests.reference.compare import relative_error

BASES = {
    "maml": maml(steps=2, lr=0.2),
    "fomaml": fomaml(steps=2, lr=0.2),
    "anil": anil(steps=2, lr=0.2),
}
MEMORY, GAMMA, RATE = 0.7, 0.6, 0.5
PARTS = {
    "agreement": GradientAgreement(),
    "sharing": GradientSharing(momentum=MEMORY),
    "cooperative": CoLearner(weight=GAMMA),
    "coherent": Coherence(rate=RATE),
}
ALL = tuple(PARTS)


def over(base: mc.Method, *parts: Any) -> mc.Method:
    for part in parts:
        base = base.with_interaction(PARTS.get(part, part) if isinstance(part, str) else part)
    return base


def past(state: mc.MetaState) -> sharing.Past:
    """Corrected running means of each step."""
    kept = own(state.running, "sharing")
    count, steps = int(kept.pop("count")), len(next(iter(kept.values())))
    means: list[Params] = [
        tree.scope({k: v[i] for k, v in kept.items()}, "mean") for i in range(steps)
    ]
    return [sharing.corrected(mean, count, MEMORY) for mean in means]


def slowly(
    method: mc.Method, goal: mc.Objective, state: mc.MetaState, found: Episode
) -> twin.Combined:
    parts = {part.name: part for part in method.interactions}
    params = tree.scope(state.params, "model")
    blend = parts.get("sharing")
    pictures = params["head.weight"].shape[1] == 18
    head = colearner((18,), 3) if pictures else colearner((4,), 1)
    phi = own(state.params, "cooperative")
    return twin.combined_step(
        goal.model, goal.criterion, params, cases.twin_tasks(method, found), method.rule.lr,
        sharing=blend and twin.Sharing(own(state.params, "sharing"), past(state), blend.mode,
                                       blend.differentiate),
        cooperation=twin.Cooperation(head, phi, GAMMA) if phi else None,
        rate=RATE if "coherent" in parts else None,
        reading=parts["coherent"].reading if "coherent" in parts else "rotate",
        agreement="agreement" in parts,
        first_order=method.estimator.first_order,
        moves=method.rule.divide(params, goal.groups)[0].__contains__,
    )  # fmt: skip


def agrees_over_meta_steps(method: mc.Method, net: str) -> None:
    goal = cases.objective(net)
    state = started(method, goal)
    for index in range(2):
        found = cases.episodes(net, seed=index)
        step, slow = once(method, goal, found, state), slowly(method, goal, state, found)
        pairs: list[tuple[Any, Any]] = [
            (cases.model_rows(step.rows), cases.stacked(slow.rows)),
            (tree.scope(step.grads, "model"), slow.grads),
            (step.run.losses, torch.stack(slow.losses)),
        ]
        if slow.coefficient_grads:
            pairs += [(own(step.rows, "sharing"), cases.stacked(slow.coefficient_rows)),
                      (own(step.grads, "sharing"), slow.coefficient_grads)]  # fmt: skip
        if slow.colearner_grads:
            pairs += [(own(step.rows, "cooperative"), cases.stacked(slow.colearner_rows)),
                      (own(step.grads, "cooperative"), slow.colearner_grads)]  # fmt: skip
        if "agreement.weights" in step.notes:
            pairs += [(step.notes["agreement.weights"], slow.weights)]
        for fast, expected in pairs:
            assert relative_error(fast, expected) <= tolerances.TWIN_F64, index
        state = moved(state, step)


@pytest.mark.parametrize("net", ["batchnorm2d", "plain", "batchnorm1d"])
@pytest.mark.parametrize("base", BASES)
def test_all_together_equal_the_slow_twin(base: str, net: str) -> None:
    """Agreement's weights are those before the correction, and scale every row."""
    agrees_over_meta_steps(over(BASES[base], *ALL), net)


@pytest.mark.parametrize("base", ["maml", "fomaml"])
def test_other_forms_together_equal_the_slow_twin(base: str) -> None:
    others = (GradientSharing(mode="additive", per="tensor", momentum=MEMORY, differentiate=True),
              CoLearner(weight=GAMMA), Coherence(rate=RATE, reading="shift"),
              GradientAgreement())  # fmt: skip
    agrees_over_meta_steps(over(BASES[base], *others), "layernorm")


@pytest.mark.parametrize("left_out", ALL)
def test_any_three_equal_the_slow_twin(left_out: str) -> None:
    agrees_over_meta_steps(over(BASES["maml"], *(p for p in ALL if p != left_out)), "batchnorm1d")


def test_each_of_them_matters() -> None:
    """The comparisons above would pass if a part did nothing."""
    goal, found = cases.objective("batchnorm1d"), cases.episodes("batchnorm1d", seed=5)
    full = over(BASES["maml"], *ALL)
    state = after(full, goal, "batchnorm1d")
    rows = once(full, goal, found, state).grads
    for name in ALL:
        less = over(BASES["maml"], *(p for p in ALL if p != name))
        other = once(less, goal, found, state).grads
        models = (tree.scope(g, "model") for g in (other, rows))
        assert relative_error(*models) > 1e-2, name


def test_the_order_of_wrapping_does_not_matter() -> None:
    """They meet in different places."""
    goal, found = cases.objective("plain"), cases.episodes("plain", seed=5)
    first = over(BASES["maml"], *ALL)
    state = after(first, goal, "plain")
    expected = once(first, goal, found, state)
    for order in permutations(ALL):
        step = once(over(BASES["maml"], *order), goal, found, state)
        assert cases.same_bits(dict(sorted(step.rows.items())), dict(sorted(expected.rows.items())))
        assert set(step.notes) == set(expected.notes)


@pytest.mark.parametrize("net", ["batchnorm2d", "batchnorm1d"])
@pytest.mark.parametrize("base", BASES)
def test_plans_agree(base: str, net: str) -> None:
    """A plain loop, pieces, one vmap; recomputed steps to the bit; the route that compiles."""
    method, steps = over(BASES[base], *ALL), {}
    state = after(method, cases.objective(net), net)
    plans = [mc.Plan(chunk=c, checkpoint=on) for c in (1, 3, "all") for on in (False, True)]
    for plan in (*plans, mc.Plan(chunk="all", compile=True)):
        found = cases.episodes(net, count=5, seed=5)
        steps[plan] = once(method, cases.objective(net, plan), found, state)
    alone = steps[plans[0]]
    for step in steps.values():
        assert relative_error(step.rows, alone.rows) <= tolerances.CHUNK_F64
        assert relative_error(step.grads, alone.grads) <= tolerances.CHUNK_F64
        assert relative_error(own(step.running, "sharing"), own(alone.running, "sharing")) <= 1e-12
        assert step.notes.keys() == alone.notes.keys()
        for name, note in alone.notes.items():
            assert torch.allclose(step.notes[name], note, rtol=1e-11, atol=1e-12), name
    for plain, recomputed in zip(plans[::2], plans[1::2], strict=True):
        a, b = steps[plain], steps[recomputed]
        assert cases.same_bits((a.rows, a.running, a.notes), (b.rows, b.running, b.notes))


def test_float32_stays_float32() -> None:
    method = over(BASES["maml"], *ALL)
    step = cases.step(method, "batchnorm2d", dtype=torch.float32)
    tensors = {**step.rows, **step.grads, **step.run.solution, **step.notes}
    tensors |= {k: v for k, v in step.running.items() if not k.endswith("count")}
    assert {v.dtype for v in tensors.values()} == {torch.float32}


def test_nothing_given_is_changed() -> None:
    method, goal = over(BASES["maml"], *ALL), cases.objective("batchnorm2d")
    state, found = after(method, goal, "batchnorm2d"), cases.episodes("batchnorm2d", seed=5)
    given = (state.params, state.running, tuple(found), dict(goal.model.named_parameters()))
    before = cases.bits(given)
    once(method, goal, found, state)
    mc.adapt(method, goal, state, found)
    assert cases.same_bits(before, given)
    assert all(p.grad is None for p in goal.model.parameters())


def trained(plan: mc.Plan) -> tuple[mc.MetaState, list[mc.Record]]:
    """Return state and records of two meta-steps: the second has history."""
    method = maml(steps=1, lr=0.1)
    for wrap in WRAPPERS.values():
        method = wrap(method)
    model = mc.models.MLP(hidden=(4,), activation="tanh").double()
    outer = mc.Outer(optimizer="sgd", lr=0.1)
    goal, tasks = mc.Objective(model, mse_loss, plan), cases.Sines(shots=6)
    records = list(mc.train(method, goal, tasks, steps=2, num_tasks=3, outer=outer))
    return records[-1].state, records


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_training_compiled_equals_eager(caplog: pytest.LogCaptureFixture) -> None:
    """Whole graph, no breaks, compiled once although history begins with the second step."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with caplog.at_level(logging.WARNING, "metaccord"):
        state, records = trained(mc.Plan(compile=True))
    assert not caplog.records, "it fell back to eager"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    eager, plain = trained(mc.Plan(chunk="all"))
    assert relative_error(state.params, eager.params) <= tolerances.COMPILED_F64
    assert relative_error(state.running, eager.running) <= tolerances.COMPILED_F64
    for a, b in zip(records, plain, strict=True):
        assert a.numbers.keys() == b.numbers.keys()
        for name, number in b.numbers.items():
            assert a.numbers[name] == pytest.approx(number, rel=1e-11, abs=1e-12)
