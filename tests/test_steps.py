"""Scale and shift of BatchNorm for each step: rows against a slow twin, and every road."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import MAML, Implicit, MGAug, Warp
from metaccord.methods import gradient_agreement, reptile
from metaccord.rules import SGD, PerStep, Proximal
from metaccord.types import Stacked
from tests import cases, tolerances
from tests.pruning import by_task
from tests.reference import steps as slow
from tests.reference.compare import relative_error
from tests.reference.inner import gradient, leaves, loss_at
from tests.stepping import ESTIMATORS, NETS, RULE, K, expected, method_of, parts, started


@pytest.mark.parametrize("estimator", ESTIMATORS)
@NETS
def test_rows_of_everything_equal_the_slow_twin(net: str, estimator: str) -> None:
    """And which entries learn: of the support losses at second order, else of query losses."""
    method, goal = method_of(ESTIMATORS[estimator]), cases.objective(net)
    state, found = started(method, goal), cases.episodes(net)
    step = mc.meta_gradient(method, goal, state, found)
    twin = expected(method, goal, state, found)
    assert step.rows.keys() == twin.keys()
    for prefix in ("model", "rule.rate", "rule.norm"):
        error = relative_error(tree.scope(step.rows, prefix), tree.scope(twin, prefix))
        assert error <= tolerances.TWIN_F64
    own = [k for k in step.rows if k.startswith("model.") and k[6:] in goal.groups["batchnorm"]]
    assert len(own) == 2
    assert not any(step.rows[k].any() for k in own), "the model's own have no effect"
    learning = {"maml": K + 1, "multi-step": K + 1, "fomaml": 1}.get(estimator, K)
    for rows in tree.scope(step.rows, "rule.norm").values():
        assert rows.shape[:2] == (4, K + 1)
        assert rows.flatten(2).any(2).all(0).tolist() == [i > K - learning for i in range(K + 1)]
    with torch.no_grad():
        norms = parts(state)[2]
        for task in range(4):
            point = {k: v[task] for k, v in step.run.solution.items()}
            assert all(torch.equal(point[k], v) for k, v in norms[K].items())


@NETS
def test_every_road_leads_to_the_same_rows(net: str) -> None:
    """Loops, pieces with graphs released, recomputed steps and the functional route."""
    method = method_of()
    whole = cases.objective(net)
    state, found = started(method, whole), cases.episodes(net)
    base = mc.meta_gradient(method, whole, state, found)
    for plan in (mc.Plan(1), mc.Plan(2), mc.Plan(3), mc.Plan("all", compile=True)):
        goal = cases.objective(net, plan)
        step = mc.meta_gradient(method, goal, state, found)
        assert relative_error(step.rows, base.rows) <= tolerances.CHUNK_F64
        assert relative_error(step.run.solution, base.run.solution) <= tolerances.CHUNK_F64
        if not plan.compile:
            again = goal.planned(replace(plan, checkpoint=True))
            assert cases.same_bits(mc.meta_gradient(method, again, state, found).rows, step.rows)
    met = gradient_agreement(method_of(MAML()))
    apart = mc.meta_gradient(met, cases.objective(net, mc.Plan(1)), state, found)
    together = mc.meta_gradient(met, whole, state, found)
    assert relative_error(apart.rows, together.rows) <= tolerances.CHUNK_F64


@pytest.mark.parametrize("estimator", ["maml", "multi-step"])
@NETS
def test_equal_entries_are_one_norm_for_all_steps(net: str, estimator: str) -> None:
    """As at the start; the row of the shared one is the sum of the rows of all entries."""
    apart = method_of(ESTIMATORS[estimator])
    shared = method_of(ESTIMATORS[estimator], norms=False)
    rows, base = cases.step(apart, net).rows, cases.step(shared, net).rows
    names = tree.scope(rows, "rule.norm")
    assert sorted(names) == [f"body.1.{leaf}" for leaf in ("bias", "weight")]
    summed = {**rows, **{f"model.{k}": v.sum(1) for k, v in names.items()}}
    assert relative_error({k: summed[k] for k in base}, base) <= tolerances.TWIN_F64
    picked = {f"model.{k}": base[f"model.{k}"] for k in names}
    assert relative_error({k: summed[k] for k in picked}, picked) <= tolerances.TWIN_F64


@pytest.mark.parametrize("kind", ["width", "catfish"])
def test_pruned_copies_have_norms_per_step(kind: Any) -> None:
    """Masks cut every entry; those of catfish are scored at the first one."""
    method, net = method_of(MGAug(kind=kind, ratio=0.5)), "batchnorm2d"
    goal, found = cases.objective(net), cases.episodes(net, 6)
    state = started(method, goal)
    theta, rates, norms = parts(state)
    model = tree.expand(slow.met_at(theta, norms, 0), 6)
    estimator = method.estimator
    assert isinstance(estimator, MGAug)
    masks = by_task(estimator.masks(method, goal, model, found))
    if kind == "catfish":
        later = tree.expand(slow.met_at(theta, norms, 1), len(masks))
        others = by_task(estimator.masks(method, goal, later, found))
        assert not cases.same_bits(masks, others), "the entry must matter"
    rows = mc.meta_gradient(method, goal, state, found).rows
    base = expected(method_of(MAML()), goal, state, found)
    for index, task in enumerate(cases.twin_tasks(method, found)):
        (mask,) = masks[index]
        learned = leaves(slow.stacked_norms(norms))
        start, rate = leaves(theta), leaves(rates)
        entries = [
            {k: v[i] * mask.get(k, torch.ones(())) for k, v in learned.items()}
            for i in range(K + 1)
        ]
        now = {k: v * mask.get(k, torch.ones(())) for k, v in start.items()}
        for step, batch in enumerate(task.batches):
            moving = {k: now[k] for k in rate}
            loss = loss_at(goal.model, goal.criterion, slow.met_at(now, entries, step), batch)
            grads = gradient(loss, moving, create_graph=True)
            for k, g in grads.items():
                now[k] = now[k] - rate[k][step] * g * mask.get(k, torch.ones(()))
        loss = loss_at(goal.model, goal.criterion, slow.met_at(now, entries, K), task.query)
        both = {**tree.under(start, "model"), **tree.under(rate, "rule.rate"),
                **tree.under(learned, "rule.norm")}  # fmt: skip
        more = gradient(loss, both, create_graph=False)
        mine = {k: v[index] for k, v in rows.items()}
        total = {k: base[k][index] + v for k, v in more.items()}
        assert relative_error(mine, total) <= tolerances.TWIN_F64


def test_steps_without_training_and_without_norms() -> None:
    """K = 0 has one entry and no rates; a model without BatchNorm, or that moves it, is refused."""
    goal = cases.objective("batchnorm2d")
    none = mc.initialise(method_of(MAML(), steps=0), goal)
    assert {k: v.shape[0] for k, v in tree.scope(none.params, "rule").items()} == {
        "norm.body.1.weight": 1, "norm.body.1.bias": 1,
    }  # fmt: skip
    with pytest.raises(UsageError, match="has no rate for a step"):
        mc.adapt(method_of(MAML()), goal, none, cases.episodes("batchnorm2d"))
    for norms in (True, False):
        other = mc.initialise(method_of(MAML(), norms=not norms), goal)
        word = f"rule.norms is {str(norms).lower()}, but what was trained has"
        with pytest.raises(UsageError, match=word):
            mc.adapt(method_of(MAML(), norms=norms), goal, other, cases.episodes("batchnorm2d"))
    for method, net in (
        (method_of(), "layernorm"),
        (method_of(), "plain"),
        (method_of(never=()), "batchnorm2d"),
        (method_of(never=("head",)), "batchnorm1d"),
    ):
        with pytest.raises(UsageError, match=r"rule\.norms is true, but the model has no scale"):
            mc.initialise(method, cases.objective(net))
    part = mc.initialise(method_of(never=("body.1.weight",)), goal)
    assert [*tree.scope(part.params, "rule.norm")] == ["body.1.weight"]


class Stepped(Proximal):
    """A rule of somebody's own that changes what stays."""

    def at(self, learned: Stacked, still: Stacked, step: int) -> Stacked:
        """Let everything grow."""
        return {k: (1 + step) * v for k, v in still.items()}


def test_estimators_without_a_meaning_for_it_say_so() -> None:
    with pytest.raises(UsageError, match="WarpGrad's lookahead needs layers that are the same"):
        method_of(Warp())
    with pytest.raises(UsageError, match="implicit gradients see the solution alone, but Stepped"):
        mc.Method(name="x", rule=Stepped(steps=1, lr=0.1), estimator=Implicit())
    with pytest.raises(UsageError, match="Reptile's row is the way a task went, but PerStep"):
        replace(reptile(2), rule=RULE)
    assert not SGD(steps=1, lr=0.1).stepwise
    assert not PerStep(steps=1, lr=0.1).stepwise
