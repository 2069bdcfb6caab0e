"""Methods that change with the meta-step: annealing of the order, and the multi-step counter."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.estimators import MAML, MultiStep
from metaccord.methods import fomaml, gradient_agreement, imaml, maml, maml_pp
from tests import cases, tolerances
from tests.reference.compare import relative_error
from tests.test_train import equal, run

TURN = 3  # meta-steps of first order
OUTER = mc.Outer(lr=0.01, schedule="cosine", final=0.001)
FIRST = MAML(first_order=True)
TURNING = {
    "maml": (replace(maml(2, 0.1), estimator=MAML(first_order=True, second_order_from=TURN)),
             fomaml(2, 0.1), maml(2, 0.1)),
    "maml_pp": tuple(maml_pp(2, 0.1, horizon=5, epoch=2, first_order_for=n) for n in (TURN, 99, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", TURNING)
def test_first_order_before_second_order_after(name: str) -> None:
    """To the bit; from the turn on it goes on as MAML would from there."""
    turning, first, second = TURNING[name]
    whole, low = run(turning, OUTER), run(first, OUTER)
    assert equal(whole[:TURN], low[:TURN])
    assert not equal(whole[TURN : TURN + 1], low[TURN : TURN + 1])
    _, _, state, slots = whole[TURN - 1]
    assert equal(whole[TURN:], run(second, OUTER, state=state, slots=slots))
    assert not equal(whole[:1], run(second, OUTER)[:1])


@pytest.mark.parametrize("wrap", [lambda m: m, gradient_agreement], ids=["", "agreement"])
@pytest.mark.parametrize("name", TURNING)
def test_resumed_at_every_step_the_same_bits(name: str, wrap: Any) -> None:
    """Before, at and after the turn and the changes of the weights; the counter goes on."""
    method = wrap(TURNING[name][0])
    whole = run(method, OUTER)
    assert [r[0] for r in whole] == list(range(1, 9))
    for done in range(1, 8):
        _, _, state, slots = whole[done - 1]
        again = run(method, OUTER, state=state, slots=slots)
        assert equal(whole[done:], again)
    if name == "maml_pp":
        counts = [int(r[2].running["estimator.step"]) for r in whole]
        assert counts == [r[2].step for r in whole] == list(range(1, 9))
        _, _, state, slots = whole[3]
        forgotten = state._replace(running={"estimator.step": torch.tensor(0)})
        assert not equal(whole[4:], run(method, OUTER, state=forgotten, slots=slots))


def test_the_turn_belongs_to_the_meta_step_not_to_the_run() -> None:
    """``meta_gradient`` reads it from the state."""
    turning, first, second = TURNING["maml"]
    goal, found = cases.objective("layernorm"), cases.episodes("layernorm")
    for done in range(2 * TURN):
        state = mc.initialise(turning, goal)._replace(step=done)
        rows = mc.meta_gradient(turning, goal, state, found).rows
        phase = first if done < TURN else second
        assert cases.same_bits(rows, mc.meta_gradient(phase, goal, state, found).rows)
        assert turning.at(done).estimator == MAML(first_order=done < TURN)
    assert maml().at(7).estimator == MAML()
    assert fomaml().at(7).estimator == FIRST
    late = MultiStep(horizon=4, epoch=2, first_order=True, second_order_from=TURN)
    assert late.at(TURN) == MultiStep(horizon=4, epoch=2)
    assert maml_pp(first_order_for=0).estimator == MultiStep()


@pytest.mark.parametrize("kind", [MAML, MultiStep])
def test_turns_without_meaning_are_refused(kind: type[MAML]) -> None:
    for options in ({"first_order": True, "second_order_from": 0}, {"second_order_from": 2}):
        with pytest.raises(UsageError, match=r"second_order_from is [02]: it must be at least 1"):
            kind(**options)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch")
@pytest.mark.parametrize("name", ["annealed", "implicit"])
def test_compiled_equals_eager(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """One graph for each order; the weights of the steps change inside of them."""
    method = imaml(1, 0.1, iterations=2)
    if name == "annealed":
        method = maml_pp(2, 0.1, horizon=2, epoch=1, first_order_for=2)
    model = mc.models.MLP(hidden=(4,), activation="tanh").double()
    states = []
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    for plan in (mc.Plan(compile=True), mc.Plan("all")):
        with caplog.at_level(logging.WARNING, "metaccord"):
            goal, outer = mc.Objective(model, mse_loss, plan), mc.Outer(optimizer="sgd", lr=0.1)
            tasks = cases.Sines(shots=6)
            *_, last = mc.train(method, goal, tasks, steps=4, num_tasks=3, outer=outer)
        states.append(last.state)
    assert not caplog.records, "it fell back to eager"
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == (2 if name == "annealed" else 1)
    compiled, eager = states
    assert relative_error(compiled.params, eager.params) <= tolerances.COMPILED_F64
    assert cases.same_bits(compiled.running, eager.running)


@pytest.mark.parametrize("kind", [MAML, MultiStep])
def test_the_earliest_turn_is_after_the_first_meta_step(kind: type[MAML]) -> None:
    turning = kind(first_order=True, second_order_from=1)
    assert turning.at(0) == kind(first_order=True)
    assert turning.at(1) == kind()
