"""The public contract suite over the matrix, and over values that break it on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import rules, tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions import GradientAgreement, Interaction
from metaccord.methods import maml
from metaccord.objective import Objective
from metaccord.rules import SGD
from metaccord.testing import check_interaction, check_rule
from metaccord.types import Adaptation, Own, Params, Stacked
from tests import cases

frozen = dataclass(frozen=True, kw_only=True)
Reconciled = tuple[Stacked, dict[str, torch.Tensor]]


@pytest.mark.parametrize("base", cases.BASES)
@pytest.mark.parametrize("name", cases.INTERACTIONS)
def test_interactions_keep_the_contract(name: str, base: str) -> None:
    assert len(check_interaction(cases.INTERACTIONS[name], base=cases.BASES[base])) == 13


@pytest.mark.parametrize("name", cases.RULES)
def test_rules_keep_the_contract(name: str) -> None:
    assert len(check_rule(cases.RULES[name])) == 15


def test_the_suite_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    check_interaction(Interaction())
    check_rule(SGD(steps=1, lr=0.1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "value", [*cases.RULES.values(), *cases.INTERACTIONS.values(), *cases.METHODS.values()]
)
def test_values_print_as_the_call_that_made_them(value: object) -> None:
    """``repr`` evaluates to an equal value with an equal hash."""
    names = vars(rules) | vars(mc.interactions) | vars(mc.method) | vars(mc.methods)
    again = eval(repr(value), dict(names))  # noqa: S307
    assert again == value
    assert hash(again) == hash(value)


@frozen
class Broken(Interaction):
    """A base for the defects: one hook each."""

    name = "broken"


@frozen
class SeesOthersAlone(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mean(0, keepdim=True).expand_as(v) for k, v in rows.items()}, {}


@frozen
class ChangesItsInput(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mul_(2.0) for k, v in rows.items()}, {}


@frozen
class WrongShape(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return {k: v.mean(0, keepdim=True) for k, v in rows.items()}, {}


@frozen
class WrongDtype(Broken):
    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return {k: v.float() for k, v in grads.items()}


@frozen
class WrongNames(Broken):
    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        return dict(list(adapted.items())[1:])


@frozen
class WrongPenalty(Broken):
    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> torch.Tensor:
        return tree.norm(run.adapted).sum()


@frozen
class ClaimsIndependence(Broken):
    independent = True

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return axis.mean(grads)


@frozen
class HidesItsMeeting(Broken):
    """Tasks meet behind the axis's back, so nothing raises; the numbers tell."""

    independent = True

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        if axis.isolated:
            return grads
        return {k: v.mean(0, keepdim=True).expand_as(v) for k, v in grads.items()}


@frozen
class KnowsPlaces(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        count = tree.tasks_in(rows)
        return tree.scale(rows, torch.arange(1.0, count + 1)), {}


@frozen
class DividesByZero(Broken):
    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        return tree.scale(rows, 1.0 / tree.norm(rows)), {}


@frozen
class Draws(Broken):
    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return {k: v + 1e-3 * torch.randn_like(v) for k, v in grads.items()}


@frozen
class Remembers(Broken):
    """Keep the first mean that was ever seen."""

    seen: list[Any] = field(default_factory=list, compare=False, repr=False, hash=False)

    def reconcile(self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis) -> Reconciled:
        if not self.seen:
            self.seen.append(rows)
        return {k: v + 0.1 * self.seen[0][k] for k, v in rows.items()}, {}


@frozen
class LearnsNothing(Broken):
    def init(self, params: Params, steps: int) -> Own:
        return Own({"rate": torch.zeros(steps, dtype=torch.float64)}, {})


@frozen
class RunsWithGraph(Broken):
    def init(self, params: Params, steps: int) -> Own:
        return Own({}, {"past": torch.zeros((), dtype=torch.float64)})

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> Params:
        return {"past": own.running["past"].clone().requires_grad_()}


@frozen
class GrowsRunning(Broken):
    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> Params:
        return {"new": torch.zeros(())}


class Thawed(Interaction):
    """The decorator is missing, so attributes can be set."""


KEEPS = "keeps type, shape, dtype and device; inputs untouched"
ROWS = "one row per learned tensor, each with a gradient"
INDEPENDENT = "independent only if released graphs equal kept ones"
DEFECTS: list[tuple[Any, str]] = [
    (SeesOthersAlone, "permuting tasks permutes rows|isolated tasks equal tasks alone"),
    (ChangesItsInput, f"{KEEPS}: reconcile changed its input"),
    (WrongShape, f"{KEEPS}: reconcile gives .* the shape"),
    (WrongDtype, f"{KEEPS}: share gives .* the dtype"),
    (WrongNames, f"{KEEPS}: correct changes the names"),
    (WrongPenalty, f"{KEEPS}: penalty gives penalty the shape"),
    (ClaimsIndependence, f"{INDEPENDENT}: .*set independent = False"),
    (HidesItsMeeting, f"{INDEPENDENT}: relative error"),
    (KnowsPlaces, "permuting tasks permutes rows and leaves the mean"),
    (DividesByZero, "finite at zero gradients"),
    (Draws, "same call, same bits"),
    (Remembers, "state is returned, not hidden"),
    (LearnsNothing, f"{ROWS}: .*interaction.broken.rate"),
    (RunsWithGraph, "running tensors keep their names and shapes, without graph"),
    (GrowsRunning, f"{KEEPS}: observe changes the names"),
    (Thawed, "is a frozen value: its attributes can be set"),
]


@pytest.mark.parametrize(("defect", "name"), DEFECTS, ids=lambda d: getattr(d, "__name__", ""))
def test_planted_defects_are_caught_by_name(defect: type[Any], name: str) -> None:
    with pytest.raises(AssertionError, match=f"contract broken: ({name})"):
        check_interaction(defect())


@frozen
class Leaks(SGD):
    """The rule lets tasks meet."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked
    ) -> tuple[Stacked, Stacked]:
        mean = {k: v.mean(0, keepdim=True).expand_as(v) for k, v in grads.items()}
        return super().update(learned, params, mean, carry)


@frozen
class Detaches(SGD):
    """The rule is first order by accident."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked
    ) -> tuple[Stacked, Stacked]:
        return super().update(learned, params, tree.detached(grads), carry)


@frozen
class InPlace(SGD):
    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked
    ) -> tuple[Stacked, Stacked]:
        return {k: v.sub_(self.lr * grads[k]) for k, v in params.items()}, carry


@frozen
class Forgets(SGD):
    def divide(self, model: Stacked, groups: Any) -> tuple[Stacked, Stacked]:
        moves, still = super().divide(model, groups)
        return dict(list(moves.items())[1:]), still


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        (Leaks, KEEPS + ": relative error"),
        (Detaches, "meta-gradient equals finite differences"),
        (InPlace, KEEPS + ": the bits differ"),
        (Forgets, "what moves and what stays are the whole model"),
    ],
    ids=lambda d: getattr(d, "__name__", ""),
)
def test_planted_defects_of_rules_are_caught_by_name(defect: type[SGD], name: str) -> None:
    with pytest.raises(AssertionError, match=f"contract broken: {name}"):
        check_rule(defect(steps=2, lr=0.2))


def test_refused_combinations_name_the_way_out() -> None:
    with pytest.raises(UsageError, match="put it over maml"):
        mc.methods.reptile().with_interaction(WrongPenalty())
    with pytest.raises(UsageError, match="occurs twice"):
        maml().with_interaction(GradientAgreement()).with_interaction(GradientAgreement())
    learner = mc.methods.reptile().with_interaction(LearnsNothing())
    with pytest.raises(UsageError, match="would never be learned: use maml"):
        mc.initialise(learner, cases.objective("plain"))
    with pytest.raises(UsageError, match="leave nothing that moves"):
        mc.initialise(maml(never=("body", "head")), cases.objective("plain"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"steps": -1}, "rule.steps is -1"),
        ({"lr": 0.0}, "rule.lr is 0.0"),
        ({"lr": float("nan")}, "rule.lr is nan"),
        ({"batch": 0}, "rule.batch is 0"),
    ],
)
def test_rules_out_of_range_are_refused(options: dict[str, Any], word: str) -> None:
    for rule in (rules.SGD, rules.Adam):
        with pytest.raises(UsageError, match=word):
            rule(**({"steps": 1, "lr": 0.1} | options))
    with pytest.raises(UsageError, match="beta2"):
        rules.Adam(steps=1, lr=0.1, beta2=1.0)
    with pytest.raises(UsageError, match="beta1"):
        rules.Adam(steps=1, lr=0.1, beta1=-0.1)
