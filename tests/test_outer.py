"""The outer optimiser: rates at both ends, clipping, and its tensors by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord.errors import UsageError
from metaccord.outer import moments, optimizer_tensors, restore_optimizer

GRADS = {"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([[2.0], [-4.0]])}
NORM = torch.tensor(math.sqrt(30.0))


@pytest.mark.parametrize(
    ("schedule", "middle"), [("constant", 0.5), ("linear", 0.3), ("cosine", 0.3)]
)
@pytest.mark.parametrize("horizon", [None, 8])
def test_rates(schedule: Any, middle: float, horizon: int | None) -> None:
    """At the start, half-way, at the end of the decay, and beyond it."""
    outer = mc.Outer(lr=0.5, final=0.1, schedule=schedule, horizon=horizon)
    steps, last = (4, 8) if horizon else (8, 8)
    end = 0.5 if schedule == "constant" else 0.1
    found = [outer.rate(step, steps) for step in (0, last // 2, last, last + 5)]
    assert found == pytest.approx([0.5, middle, end, end], rel=1e-14)


def test_the_cosine_is_flat_at_both_ends() -> None:
    outer = mc.Outer(lr=1.0, schedule="cosine")
    assert outer.rate(1, 4) == pytest.approx(0.5 + math.sqrt(0.125), rel=1e-14)
    assert outer.rate(3, 4) == pytest.approx(0.5 - math.sqrt(0.125), rel=1e-14)


def test_without_limits_gradients_pass() -> None:
    found = mc.Outer().clipped(GRADS, NORM)
    assert all(found[name] is grad for name, grad in GRADS.items())


@pytest.mark.parametrize("limit", [1.0, 5.0, 6.0])
def test_clipping_by_norm(limit: float) -> None:
    found = mc.Outer(clip_norm=limit).clipped(GRADS, NORM)
    factor = min(1.0, limit / math.sqrt(30.0))
    for name, grad in GRADS.items():
        torch.testing.assert_close(found[name], grad * factor)


def test_clipping_by_value() -> None:
    found = mc.Outer(clip_value=2.5).clipped(GRADS, NORM)
    assert found["a"].tolist() == [2.5, -1.0]
    assert found["b"].flatten().tolist() == [2.0, -2.5]


def test_values_are_clipped_before_the_norm() -> None:
    """(2.5, -1, 2, -2.5) has the norm sqrt(17.5)."""
    both = mc.Outer(clip_value=2.5, clip_norm=1.0).clipped(GRADS, NORM)
    expected = torch.tensor([2.5, -1.0, 2.0, -2.5]) / math.sqrt(17.5)
    torch.testing.assert_close(torch.cat([g.flatten() for g in both.values()]), expected)
    loose = mc.Outer(clip_value=2.5, clip_norm=4.5).clipped(GRADS, NORM)
    assert loose["a"].tolist() == [2.5, -1.0]


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0}, {"lr": -1.0}, {"lr": math.inf}, {"clip_norm": 0.0}, {"clip_value": math.nan},
        {"horizon": 0}, {"final": -0.1}, {"lr": 0.1, "final": 0.11}, {"momentum": 1.0},
        {"momentum": -0.1}, {"optimizer": "sdg"}, {"schedule": "cosinus"},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"outer\."):
        mc.Outer(**options)


def test_unknown_words_are_named_with_what_is_meant() -> None:
    with pytest.raises(UsageError, match=r"unknown outer\.optimizer 'sdg': did you mean 'sgd'"):
        mc.Outer(optimizer="sdg")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"unknown outer\.schedule 'cosinus': .*'cosine'"):
        mc.Outer(schedule="cosinus")  # type: ignore[arg-type]


def test_the_ends_of_the_ranges_are_allowed() -> None:
    mc.Outer(lr=0.1, final=0.1, momentum=0.0, horizon=1)
    mc.Outer(lr=0.1, final=0.0, momentum=0.99, clip_norm=1e-9)


@pytest.mark.parametrize(
    "outer", [mc.Outer(lr=0.1), mc.Outer(optimizer="sgd", lr=0.1, momentum=0.9)]
)
def test_optimisers_are_those_of_torch_and_go_on(outer: mc.Outer) -> None:
    params = {name: grad.clone() for name, grad in GRADS.items()}
    twin = {name: grad.clone() for name, grad in GRADS.items()}
    optimizer = outer.build(params.values())
    torch_own: torch.optim.Optimizer = (
        torch.optim.Adam(twin.values(), lr=0.1)
        if outer.optimizer == "adam"
        else torch.optim.SGD(twin.values(), lr=0.1, momentum=0.9)
    )
    for step in range(4):
        if step == 2:  # another optimiser takes over
            kept = {k: v.clone() for k, v in optimizer_tensors(optimizer, params).items()}
            assert {key.partition("/")[0] for key in kept} == set(params)
            optimizer = outer.build(params.values())
            restore_optimizer(optimizer, params, kept)
        for held, own in ((params, optimizer), (twin, torch_own)):
            for name, tensor in held.items():
                tensor.grad = GRADS[name] * (step + 1)
            own.step()
        assert all(torch.equal(params[name], twin[name]) for name in params)
    names = ("exp_avg", "exp_avg_sq") if outer.optimizer == "adam" else ("momentum_buffer",)
    found = moments(optimizer)
    assert {key.split(".")[1] for key in found} == set(names)
    assert len(found) == 2 * len(names)
