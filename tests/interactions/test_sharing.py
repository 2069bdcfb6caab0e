"""Gradient Sharing: equal to the slow twin over meta-steps, its limits, and tasks alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators import MAML
from metaccord.interactions import GradientSharing
from metaccord.methods import anil, boil, fomaml, gradient_sharing, maml
from metaccord.rules import SGD, Momentum
from metaccord.types import Params
from tests import cases, tolerances
from tests.interactions.support import after, moved, once, own, started
from tests.reference import sharing as twin
from tests.reference.compare import relative_error

BASES = {
    "maml": maml(steps=3, lr=0.2),
    "fomaml": fomaml(steps=3, lr=0.2),
    "anil": anil(steps=2, lr=0.2),
    "boil": boil(steps=2, lr=0.2),
    "mini-batches": mc.Method(name="batches", rule=SGD(steps=3, lr=0.2, batch=4), estimator=MAML()),
    "momentum": mc.Method(name="momentum", rule=Momentum(steps=3, lr=0.1), estimator=MAML()),
}
MEMORY = 0.7


def shared(base: mc.Method, **options: Any) -> mc.Method:
    return base.with_interaction(GradientSharing(momentum=MEMORY, **options))


def coefficients(state: mc.MetaState) -> Params:
    return own(state.params, "sharing")


class History:
    """The running means of the twin, step by step of the inner loop."""

    def __init__(self, steps: int) -> None:
        self.means: list[Params | None] = [None] * steps
        self.count = 0

    def past(self) -> twin.Past:
        return [twin.corrected(mean, self.count, MEMORY) for mean in self.means]

    def learn(self, found: list[Params]) -> None:
        new = [
            twin.updated_mean(mean, self.count, c, MEMORY)
            for mean, c in zip(self.means, found, strict=True)
        ]
        self.means, self.count = [mean for mean, _ in new], new[0][1]

    def running(self) -> Params:
        assert self.means[0] is not None
        return {f"mean.{k}": torch.stack([m[k] for m in self.means]) for k in self.means[0]}


def slowly(
    method: mc.Method, goal: mc.Objective, state: mc.MetaState, found: Any, past: twin.Past
) -> twin.SharingStep:
    part, rule = method.interactions[0], method.rule
    assert isinstance(part, GradientSharing)
    params = tree.scope(state.params, "model")
    moves = rule.divide(params, goal.groups)[0].__contains__
    momentum = isinstance(rule, Momentum)
    return twin.sharing_step(
        goal.model, goal.criterion, params, cases.twin_tasks(method, found), rule.lr,
        coefficients(state), past, mode=part.mode, differentiate=part.differentiate,
        first_order=method.estimator.first_order, moves=moves,
        rule="momentum" if momentum else "sgd",
        rule_options={"momentum": rule.momentum} if momentum else None,
    )  # fmt: skip


def agrees_over_meta_steps(method: mc.Method, net: str, steps: int = 3) -> None:
    """Rows, mean, learned rows, solutions and running means at every meta-step."""
    goal, memory = cases.objective(net), History(method.rule.steps)
    state = started(method, goal)
    for index in range(steps):
        found = cases.episodes(net, seed=index)
        step, slow = (
            once(method, goal, found, state),
            slowly(method, goal, state, found, memory.past()),
        )
        memory.learn(slow.means)
        pairs = [
            (cases.model_rows(step.rows), cases.stacked(slow.rows)),
            (own(step.rows, "sharing"), cases.stacked(slow.coefficient_rows)),
            (tree.scope(step.grads, "model"), slow.grads),
            (own(step.grads, "sharing"), slow.coefficient_grads),
            (step.run.solution, cases.stacked(slow.solutions)),
            ({"losses": step.run.losses}, {"losses": torch.stack(slow.losses)}),
        ]
        for fast, expected in pairs:
            assert relative_error(fast, expected) <= tolerances.TWIN_F64, (index, list(expected))
        kept = own(step.running, "sharing")
        assert kept.pop("count").item() == memory.count == index + 1
        assert relative_error(kept, memory.running()) <= tolerances.TWIN_F64
        state = moved(state, step)


@pytest.mark.parametrize("net", ["batchnorm2d", "frozen", "tied"])
@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("per", ["step", "tensor"])
@pytest.mark.parametrize("mode", ["convex", "additive"])
def test_meta_steps_equal_the_slow_twin(mode: Any, per: Any, differentiate: bool, net: str) -> None:
    """History from the second meta-step on, with its bias corrected."""
    method = shared(BASES["maml"], mode=mode, per=per, differentiate=differentiate)
    agrees_over_meta_steps(method, net)


@pytest.mark.parametrize("mode", ["convex", "additive"])
@pytest.mark.parametrize("net", ["batchnorm1d", "convolution"])
@pytest.mark.parametrize("base", [name for name in BASES if name != "maml"])
def test_other_bases_equal_the_slow_twin(base: str, net: str, mode: Any) -> None:
    """First order, parts that stay, mini-batches and a rule with memory."""
    agrees_over_meta_steps(shared(BASES[base], mode=mode, per="tensor"), net, steps=2)


def test_forms_flows_and_history_are_told_apart() -> None:
    """The comparisons above would pass if a setting meant nothing."""
    found, options = cases.episodes("batchnorm1d", seed=9), []
    for mode in ("convex", "additive"):
        options += [{"mode": mode, "differentiate": flow} for flow in (False, True)]
    assert GradientSharing() == GradientSharing(mode="convex", differentiate=False)
    rows = []
    for option in options:
        method, goal = shared(BASES["maml"], **option), cases.objective("batchnorm1d")
        rows += [once(method, goal, found, s).rows
                 for s in (started(method, goal), after(method, goal, "batchnorm1d"))]  # fmt: skip
    for i, a in enumerate(rows):
        for b in rows[:i]:
            assert relative_error(cases.model_rows(a), cases.model_rows(b)) > 1e-3


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("per", ["step", "tensor"])
@pytest.mark.parametrize("mode", ["convex", "additive"])
def test_alone_each_task_shares_with_itself(mode: Any, per: Any, known: bool) -> None:
    """At meta-test, five steps where three were trained: the last coefficient and mean repeat."""
    goal, method = cases.objective("batchnorm1d"), shared(BASES["maml"], mode=mode, per=per)
    state = after(method, goal, "batchnorm1d", steps=2 if known else 0)
    found, longer = cases.episodes("batchnorm1d", seed=8), method.with_steps(5)
    running = tree.mapped(torch.clone, state.running)
    run = mc.adapt(longer, goal, state, found)
    assert cases.same_bits(state.running, running), "meta-test changes no running mean"
    memory = History(3)
    kept = own(state.running, "sharing")
    memory.count = int(kept.pop("count"))
    memory.means = [tree.scope({k: v[i] for k, v in kept.items()}, "mean") for i in range(3)]
    params = tree.scope(state.params, "model")
    moves = method.rule.divide(params, goal.groups)[0].__contains__
    for i, task in enumerate(cases.twin_tasks(longer, found)):
        path = twin.isolated(
            goal.model, goal.criterion, params, task, 0.2, coefficients(state), memory.past(),
            mode=mode, moves=moves,
        )  # fmt: skip
        for there, point in zip(path, run.path, strict=True):
            fast = {k: v[i] for k, v in point.items()}
            assert relative_error(fast, {k: there[k] for k in fast}) <= tolerances.TWIN_F64


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mode": "concave"}, "unknown sharing.mode 'concave': did you mean 'convex'"),
        ({"per": "steps"}, "unknown sharing.per 'steps': did you mean 'step'"),
        ({"momentum": 1.0}, r"sharing.momentum is 1.0: it must be in \[0, 1\)"),
        ({"momentum": -0.1}, "sharing.momentum is -0.1"),
        ({"momentum": float("nan")}, "sharing.momentum is nan"),
        ({"share_start": 0.0}, "sharing.share_start is 0.0: it must be between 0 and 1"),
        ({"share_start": 1.0}, "sharing.share_start is 1.0"),
        ({"past_start": float("nan")}, "sharing.past_start is nan"),
        ({"past_start": -3.0}, "sharing.past_start is -3.0"),
        ({"mode": "additive", "share_start": float("inf")}, "sharing.share_start is inf"),
        ({"mode": "additive", "past_start": float("nan")}, "sharing.past_start is nan"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        GradientSharing(**options)
    assert "\n" not in str(caught.value)


def test_without_a_query_loss_it_is_refused() -> None:
    with pytest.raises(UsageError, match="sharing has no meaning over reptile"):
        gradient_sharing(mc.methods.reptile())
