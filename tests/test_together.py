"""Several interactions as one: order, names, sums of penalties, and who sees which tensors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions import GradientAgreement, Interaction, Together
from metaccord.methods import maml
from metaccord.objective import Objective
from metaccord.types import Adaptation, Notes, Own, Params, Stacked
from tests import cases

AXIS = TaskAxis(2)
NET = cases.objective("plain")
EMPTY = Adaptation((), (), {}, {}, None, ())


@dataclass(frozen=True, kw_only=True)
class Affine(Interaction):
    """Multiply, then add, in every hook; its own tensors say what."""

    name = "affine"
    factor: float = 2.0
    shift: float = 1.0
    needs = frozenset({"path"})

    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        return Own({"shift": torch.full((), self.shift)}, {"seen": torch.zeros(())})

    def _all(self, own: Own, rows: Stacked) -> Stacked:
        assert set(own.learned) == {"shift"}
        return {k: self.factor * v + own.learned["shift"][0] for k, v in rows.items()}

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        return self._all(own, grads)

    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        return self._all(own, adapted)

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> torch.Tensor:
        return own.learned["shift"]

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        return self._all(own, rows), {"factor": torch.tensor(self.factor)}

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        return {"seen": own.running["seen"] + self.factor}, {"count": torch.tensor(1.0)}


class Other(Affine):
    """The same below another name."""

    name = "other"


BOTH = Together(parts=(Affine(factor=2.0, shift=1.0), Other(factor=3.0, shift=10.0)))


def own() -> Own:
    learned, running = BOTH.init({}, 3, NET, 0)
    return Own({k: v.expand(2) for k, v in learned.items()}, running)


def test_tensors_live_below_the_names() -> None:
    assert {k: v.tolist() for k, v in BOTH.init({}, 3, NET, 0).learned.items()} == {
        "affine.shift": 1.0,
        "other.shift": 10.0,
    }
    assert set(BOTH.init({}, 3, NET, 0).running) == {"affine.seen", "other.seen"}
    found, notes = BOTH.observe(own(), EMPTY, AXIS)
    assert set(notes) == {"affine.count", "other.count"}
    assert {k: v.item() for k, v in found.items()} == {"affine.seen": 2.0, "other.seen": 3.0}


def test_parts_are_applied_in_order() -> None:
    """3 (2 x + 1) + 10, not 2 (3 x + 10) + 1."""
    rows = {"w": torch.tensor([[0.0], [1.0]])}
    expected = [[13.0], [19.0]]
    assert BOTH.share(own(), rows, 0, AXIS)["w"].tolist() == expected
    assert BOTH.correct(own(), rows, EMPTY, AXIS)["w"].tolist() == expected
    found, notes = BOTH.reconcile(own(), rows, EMPTY, AXIS)
    assert found["w"].tolist() == expected
    assert {k: v.item() for k, v in notes.items()} == {"affine.factor": 2.0, "other.factor": 3.0}
    assert BOTH.penalty(own(), EMPTY, None, AXIS).tolist() == [11.0, 11.0]


def test_needs_places_and_independence_are_those_of_the_parts() -> None:
    assert BOTH.needs == {"path"}
    assert BOTH.places == {"share", "correct", "penalty", "reconcile"}
    assert not BOTH.independent
    mixed = Together(parts=(GradientAgreement(), Affine()))
    assert mixed.places == BOTH.places
    assert not mixed.independent
    assert Together(parts=(GradientAgreement(),)).independent
    assert Together(parts=(GradientAgreement(),)).places == {"reconcile"}


def test_no_parts_is_no_interaction() -> None:
    none = Together()
    assert none.independent
    assert not none.places
    assert none.penalty(Own({}, {}), EMPTY, None, AXIS) == 0
    step, plain = (cases.step(m, "plain") for m in (maml().with_interaction(none), maml()))
    assert cases.same_bits(step.rows, plain.rows)


def test_a_name_may_occur_once() -> None:
    with pytest.raises(UsageError, match="'affine' occurs twice"):
        Together(parts=(Affine(), Affine(factor=5.0)))


def test_in_a_method_names_carry_the_prefix() -> None:
    """Label, learned tensors, running tensors and notes; identity factors change nothing."""
    method = maml(steps=1).with_interaction(Affine(factor=1.0, shift=0.0))
    method = method.with_interaction(GradientAgreement())
    assert method.label == "maml+affine+agreement"
    assert method.needs == {"path"}
    goal = cases.objective("plain")
    state = mc.initialise(method, goal)
    assert "interaction.affine.shift" in state.params
    step = mc.meta_gradient(method, goal, state, cases.episodes("plain"))
    assert step.rows["interaction.affine.shift"].shape == (4,)
    assert step.running["interaction.affine.seen"].item() == 1.0
    assert set(step.notes) == {
        "affine.factor",
        "affine.count",
        "estimator.penalty",
        "agreement.weights",
        "agreement.effective_tasks",
        "agreement.stretch",
    }


def test_an_interaction_does_nothing_unless_it_says_so() -> None:
    none, rows, own = Interaction(), {"a": torch.ones(2, 3)}, Own({}, {"mean": torch.ones(3)})
    assert none.init({}, 1, cases.objective("plain"), seed=0) == Own({}, {})
    assert none.share(own, rows, 0, AXIS) is rows
    assert none.correct(own, rows, EMPTY, AXIS) is rows
    assert none.penalty(own, EMPTY, cases.objective("plain"), AXIS) == 0
    assert none.reconcile(own, rows, EMPTY, AXIS) == (rows, {})
    assert none.observe(own, EMPTY, AXIS) == (own.running, {})
    assert not (none.places or none.needs or none.learns or none.discarded or none.caveat)
