"""Numbers that are not finite, budgets that do not fit, and models that cannot be trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord.errors import NumericalError
from metaccord.losses import mse
from metaccord.methods import maml
from tests import cases
from tests.cli.support import SET, Result, last, records, snapshot, train
from tests.cli.test_bad_input import refused
from tests.refusals import refusal

Run = Callable[..., Result]
SGD = ("outer.optimizer=sgd", "outer.lr=1e6")  # explodes after a few steps


def test_the_first_step_leaves_no_folder(metaccord: Run, place: Path) -> None:
    settings = (*SET, "rule.lr=1e30", "rule.steps=3")
    result = metaccord("train", "sinusoid", "--out", "run", *settings)
    refused(result, 5, ["meta-step 0", "tasks [0, 1]", "inner step 1", "lower rule.lr"])
    assert snapshot(place) == {}


def test_an_explosion_stops_before_the_update_and_is_saved(metaccord: Run, place: Path) -> None:
    """The state before the bad step is on the disk, the same as of a run that ends there."""
    result = metaccord("train", "sinusoid", "--steps", "50", "--out", "run", *SET, *SGD)
    found = last(place / "run")
    refused(result, 5, [f"not finite at meta-step {found.step}", "tasks [", "nothing was updated"])
    assert 2 <= found.step < 50
    assert [record["step"] for record in records(place / "run")] == [*range(1, found.step + 1)]
    assert all(tensor.isfinite().all() for tensor in found.tensors.values())
    train(place / "shorter", *SGD, f"steps={found.step}")
    assert cases.same_bits(found.tensors, last(place / "shorter").tensors)
    assert mc.load(place / "run").state.step == found.step


def test_going_on_stops_at_the_same_place(metaccord: Run, place: Path) -> None:
    words = ("train", "sinusoid", "--steps", "50", "--out", "run")
    first = metaccord(*words, *SET, *SGD)
    before = snapshot(place)
    again = metaccord(*words, "--resume")
    assert (again.code, again.errors) == (5, first.errors)
    assert snapshot(place) == before


def test_an_update_that_overflows_is_never_saved(metaccord: Run, place: Path) -> None:
    """Finite gradients, but the new weights are not: no checkpoint holds them."""
    huge = ("outer.optimizer=sgd", "outer.lr=1e30", "tasks.amplitude=[1e9,1e10]")
    settings = (*SET, *huge, "rule.steps=0")
    result = metaccord("train", "sinusoid", "--steps", "9", "--out", "run", *settings)
    refused(result, 5, ["not finite at meta-step 1", "tasks [0, 1]"])
    assert list((place / "run" / "checkpoints").iterdir()) == []
    result = metaccord(
        "train", "sinusoid", "--steps", "9", "--out", "often", *settings, "checkpoint_every=1"
    )
    refused(result, 5, ["finite"])
    assert list((place / "often" / "checkpoints").iterdir()) == []
    refused(metaccord("evaluate run"), 4, ["no checkpoint"])


def test_a_budget_that_does_not_fit(metaccord: Run, place: Path) -> None:
    result = metaccord("train", "sinusoid", "--out", "run", *SET, "plan.memory=1KiB")
    refused(result, 6, ["plan.memory is 1KiB", "allow more"])
    assert snapshot(place) == {}


def test_a_model_that_does_not_fit_into_the_memory(metaccord: Run, place: Path) -> None:
    result = metaccord("train sinusoid --set model.hidden=[10000000,10000000] --out run")
    refused(result, 6, ["out of memory"])
    assert snapshot(place) == {}


class Panic(BaseException):
    """Like what safetensors raises from Rust when an allocation fails."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        ImportError("late.so: failed to map segment from shared object"),
        ImportError("late.so: cannot allocate memory in static TLS block"),
        RuntimeError("[enforce fail a"),
        Panic("PyObject pointer is null"),
    ],
    ids=str,
)
def test_an_allocation_that_fails_later(
    metaccord: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*given: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr("metaccord.runs.train", broken)
    result = metaccord("train", "sinusoid", "--out", "run", *SET)
    refused(result, 6, ["out of memory"])


def test_other_errors_keep_their_traceback(metaccord: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **named: Any) -> Any:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("metaccord.runs.train", broken)
    with pytest.raises(RuntimeError, match="a defect of ours"):
        metaccord("train", "sinusoid", "--out", "run", *SET)


class Idle(nn.Module):
    """A network with a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Detached(nn.Linear):
    """A layer without gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def _rows(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(1)


def _number(outputs: Tensor, targets: Tensor) -> Any:
    return (outputs - targets).square().mean().item()


def _mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


UNFIT: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any], list[str]]] = {
    "wide": (lambda: nn.Linear(1, 2), _mean, ["(6, 2)", "(6, 1)", "broadcast"]),
    "flat": (
        lambda: nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)),
        _mean,
        ["outputs (6,)", "must be equal"],
    ),
    "narrow": (lambda: nn.Linear(3, 1), _mean, ["the model fails on inputs of shape (6, 1)"]),
    "rows": (lambda: nn.Linear(1, 1), _rows, ["the criterion gives (6,)", "mean reduction"]),
    "number": (lambda: nn.Linear(1, 1), _number, ["the criterion gives float", "one number"]),
    "detached": (lambda: Detached(1, 1), _mean, ["does not depend", "detach()"]),
    "idle": (Idle, _mean, ["'idle.weight' never receives a gradient", "unused="]),
    "nothing": (nn.Flatten, _mean, ["no trainable parameter"]),
    "frozen": (lambda: nn.Linear(1, 1).requires_grad_(False), _mean, ["no trainable parameter"]),
}


@pytest.mark.parametrize("name", UNFIT)
def test_models_that_cannot_be_trained(name: str) -> None:
    """Said before the first step, on one line."""
    build, criterion, words = UNFIT[name]
    with refusal(words):
        objective = mc.Objective(build(), criterion, mc.Plan(chunk="all"))
        next(mc.train(maml(), objective, mc.tasks.Sinusoid(shots=6), steps=1, num_tasks=2))


def test_declared_idle_parameters_are_allowed() -> None:
    idle = ("idle.weight", "idle.bias")
    objective = mc.Objective(Idle(), mse, mc.Plan(chunk="all"), unused=idle)
    record = next(mc.train(maml(), objective, mc.tasks.Sinusoid(), steps=1, num_tasks=2))
    assert record.step == 1


def test_saving_what_is_not_finite_leaves_no_folder(tmp_path: Path) -> None:
    objective = mc.Objective(nn.Linear(1, 1), mse)
    state = mc.initialise(maml(), objective)
    bad = state._replace(params={k: v * math.nan for k, v in state.params.items()})
    with pytest.raises(NumericalError, match="finite"):
        mc.save(tmp_path / "new", maml(), objective, bad)
    assert not (tmp_path / "new").exists()
    mc.save(tmp_path / "new", maml(), objective, state)
    assert torch.equal(
        mc.load(tmp_path / "new", model=nn.Linear(1, 1), criterion=mse).state.params[
            "model.weight"
        ],
        state.params["model.weight"],
    )
