"""The training loop: the same bits twice and after every resume, and no update with NaN."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord.errors import NumericalError, UsageError
from metaccord.methods import gradient_agreement, maml, reptile
from metaccord.train import copied, global_norm
from metaccord.types import Episode
from tests import cases

SINES = mc.tasks.Sinusoid(shots=6)
ALL = mc.Plan(chunk="all")
SGD = mc.Outer(optimizer="sgd", lr=0.1, momentum=0.9, schedule="linear", clip_norm=1.0)
ADAM = mc.Outer(lr=0.01, schedule="cosine", clip_value=0.5)
ENDING = mc.Outer(lr=0.01, schedule="linear", final=0.005)


def objective(plan: mc.Plan = ALL) -> mc.Objective:
    return mc.Objective(mc.models.MLP(hidden=(5,), activation="tanh"), mse_loss, plan)


def run(method: mc.Method, outer: mc.Outer | None = None, **options: Any) -> list[Any]:
    """Return copies of everything that each of the steps leaves behind."""
    settings: dict[str, Any] = {"steps": 8, "num_tasks": 3, "outer": outer, **options}
    goal = settings.pop("goal", None) or objective()
    tasks = settings.pop("tasks", SINES)
    return [
        (r.step, r.numbers, copied(r.state), {k: v.clone() for k, v in r.slots.items()})
        for r in mc.train(method, goal, tasks, **settings)
    ]


def equal(a: list[Any], b: list[Any]) -> bool:
    """Compare bit by bit, numbers included."""
    return [x[:2] for x in a] == [x[:2] for x in b] and all(
        x[2].step == y[2].step and cases.same_bits((x[2][:2], x[3]), (y[2][:2], y[3]))
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("outer", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", cases.METHODS)
def test_twice_and_resumed_at_every_step_the_same_bits(name: str, outer: mc.Outer) -> None:
    """Also from the resumed run's own states: every resume goes on to the end."""
    method = cases.METHODS[name]
    whole = run(method, outer)
    assert [r[0] for r in whole] == list(range(1, 9))
    assert equal(whole, run(method, outer))
    for done in range(1, 8):
        _, _, state, slots = whole[done - 1]
        before = cases.bits((state[:2], slots))
        assert equal(whole[done:], run(method, outer, state=state, slots=slots))
        assert cases.same_bits(before, (state[:2], slots)), "what was handed in is copied"


def test_the_comparison_above_would_notice() -> None:
    """Another seed, forgotten slots, forgotten running statistics: other bits."""
    method = cases.METHODS["reptile, adam"]
    whole = run(method, ADAM)
    _, _, state, slots = whole[3]
    assert not equal(whole, run(method, ADAM, seed=1))
    assert not equal(whole[4:], run(method, ADAM, state=state))
    forgotten = state._replace(running={k: torch.zeros_like(v) for k, v in state.running.items()})
    assert not equal(whole[4:], run(method, ADAM, state=forgotten, slots=slots))


def test_global_randomness_is_left_alone() -> None:
    goal, before = objective(), torch.get_rng_state()
    run(maml(steps=1), goal=goal, steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_model_of_the_user_is_left_alone() -> None:
    goal = objective()
    before = cases.bits(goal.model.state_dict())
    run(maml(steps=1), goal=goal, steps=2)
    assert cases.same_bits(before, goal.model.state_dict())
    assert all(p.grad is None and p.requires_grad for p in goal.model.parameters())


@pytest.mark.parametrize("outer", [SGD, ADAM, ENDING], ids=["sgd", "adam", "ending"])
def test_the_outer_optimiser_is_torchs(outer: mc.Outer) -> None:
    """The loop, written out: rates, clipping, one mean, ``torch.optim``."""
    method, goal = gradient_agreement(maml(steps=2)), objective()
    state = mc.initialise(method, goal, seed=0)
    params = {k: v.clone() for k, v in state.params.items()}
    optimizer = outer.build(params.values())
    for step in range(3):
        found = SINES.episodes("train", step, range(3))
        grads = mc.meta_gradient(method, goal, mc.MetaState(params, {}), found).grads
        optimizer.param_groups[0]["lr"] = outer.rate(step, 3)
        for name, tensor in params.items():
            tensor.grad = grads[name].clone()
        if outer.clip_value is not None:
            torch.nn.utils.clip_grad_value_(params.values(), outer.clip_value)
        if outer.clip_norm is not None:
            _clip(params, outer.clip_norm)
        optimizer.step()
    last = run(method, outer, steps=3)[-1][2]
    for name, tensor in params.items():
        torch.testing.assert_close(last.params[name], tensor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("horizon", [None, 5])
@pytest.mark.parametrize("final", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_decay_as_torchs_do(schedule: str, final: float, horizon: int | None) -> None:
    """From ``lr`` to ``final`` over the horizon, and not beyond it."""
    outer = mc.Outer(optimizer="sgd", lr=0.1, schedule=schedule, final=final, horizon=horizon)
    over, slow = horizon or 8, torch.optim.lr_scheduler
    optimizer = outer.build([torch.zeros(1, requires_grad=True)])
    scheduler = {
        "linear": lambda: slow.LinearLR(optimizer, 1.0, final / 0.1, over),
        "cosine": lambda: slow.CosineAnnealingLR(optimizer, over, final),
        "constant": lambda: slow.ConstantLR(optimizer, 1.0),
    }[schedule]()
    rates = [outer.rate(step, 8) for step in range(12)]
    for rate in rates[: over + 1]:
        assert rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimizer.step()
        scheduler.step()
    end = 0.1 if schedule == "constant" else final
    assert rates[over:] == pytest.approx([end] * (12 - over), abs=1e-12)
    for bad in (-0.1, 0.2, float("nan")):
        with pytest.raises(UsageError, match=f"outer.final is {bad}: it must be between 0 and"):
            mc.Outer(lr=0.1, schedule=schedule, final=bad)


def _clip(params: dict[str, Tensor], most: float) -> None:
    norm = global_norm({k: v.grad for k, v in params.items() if v.grad is not None})
    if norm > most:
        for tensor in params.values():
            assert tensor.grad is not None
            tensor.grad *= most / norm


@dataclass(frozen=True, kw_only=True)
class Poisoned(mc.tasks.Sinusoid):
    """Sine waves with one bad number."""

    where: str = "support"
    value: float = float("nan")
    at: int = 2

    def episodes(self, split: str, step: int, tasks: range) -> Episode:
        found = super().episodes(split, step, tasks)
        if step == self.at:
            getattr(found, self.where).targets[1, 0] = self.value
        return found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("where", ["support", "query"])
@pytest.mark.parametrize("name", cases.METHODS)
def test_numbers_that_are_not_finite_stop_before_the_update(
    name: str, where: str, value: float
) -> None:
    method = cases.METHODS[name]
    if where == "query" and not method.estimator.takes_query:
        return
    tasks, records, last = Poisoned(where=where, value=value, shots=6), [], None
    with pytest.raises(NumericalError) as caught:
        for record in mc.train(method, objective(), tasks, steps=5, num_tasks=3):
            records.append(record)
            last = cases.bits((record.state[:2], record.slots))
    assert [r.step for r in records] == [1, 2], "the bad step yields nothing"
    assert cases.same_bits(last, (records[-1].state[:2], records[-1].slots))
    message = str(caught.value)
    assert "at meta-step 2:" in message
    assert "in tasks [1];" in message
    assert "lower rule.lr" in message
    assert "\n" not in message


def test_a_gradient_that_is_not_finite_is_found_behind_finite_losses() -> None:
    """The root of zero: loss 0, gradient infinite times zero."""

    def root(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - outputs.detach()).abs().sqrt().mean()

    goal = mc.Objective(mc.models.MLP(hidden=(5,)), root, ALL)
    with pytest.raises(NumericalError, match=r"the losses are finite|first at inner step"):
        next(mc.train(maml(steps=0), goal, SINES, steps=1, num_tasks=3))


def test_records_hold_what_they_say() -> None:
    record = next(mc.train(gradient_agreement(maml(steps=2)), objective(), SINES, steps=1))
    assert record.json().keys() >= {"step", "seconds", "query_loss", "support_loss", "grad_norm"}
    assert len(record.numbers["agreement.weights"]) == 25
    assert record.loss == record.numbers["query_loss"]
    reptiles = next(mc.train(reptile(steps=2), objective(), SINES, steps=1))
    assert "query_loss" not in reptiles.numbers
    assert reptiles.loss == reptiles.numbers["support_loss"]


def test_support_loss_is_the_one_documented() -> None:
    """MAML: before the first inner step; Reptile: before the last."""
    for method, which in ((maml(steps=3), 0), (reptile(steps=3), -1)):
        goal = objective()
        state = mc.initialise(method, goal, seed=0)
        step = mc.meta_gradient(method, goal, state, SINES.episodes("train", 0, range(3)))
        expected = step.run.support_losses[which].double().mean().item()
        record = next(mc.train(method, goal, SINES, steps=1, num_tasks=3))
        assert record.numbers["support_loss"] == pytest.approx(expected, rel=1e-6)


def test_bad_calls_are_refused() -> None:
    for options in ({"steps": 0}, {"steps": 1, "num_tasks": 0}):
        with pytest.raises(UsageError, match="must be at least 1"):
            next(mc.train(maml(), objective(), SINES, **options))
    wide = mc.Objective(mc.models.MLP(outputs=2), mse_loss)
    with pytest.raises(UsageError, match="the shapes must be equal"):
        next(mc.train(maml(), wide, SINES, steps=1))
    narrow = mc.Objective(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2)),
                          cross_entropy)  # fmt: skip
    with pytest.raises(UsageError, match=r"set model\.ways=3"):
        next(mc.train(maml(never=()), narrow, cases.Blobs(), steps=1))


def test_finished_training_yields_nothing() -> None:
    state = copied(run(maml(steps=1), steps=2)[-1][2])
    assert run(maml(steps=1), steps=2, state=state) == []


def test_a_measured_plan_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "metaccord"):
        record = next(mc.train(maml(steps=1), objective(mc.Plan()), SINES, steps=1, num_tasks=2))
    assert record.plan.chunk in (1, 2)
    assert "plan: chunk" in caplog.text
