"""The cheap form that every training runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import methods
from metaccord.defaults import default
from metaccord.errors import UsageError
from metaccord.inspection import differentiates_twice, inspect
from metaccord.types import Batch, Episode
from tests import cases
from tests.doctor.museum import gradients
from tests.doctor.museum.exhibit import Clusters, classifier, regression, seeded

MAML = methods.maml(steps=1, lr=0.1)


def inspected(
    model: nn.Module, criterion: Any, tasks: Episode, method: mc.Method | None = MAML
) -> None:
    objective = mc.Objective(model, criterion)
    inspect(objective, mc.initialise(method or MAML, objective), tasks, method)


CUT: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "detach": lambda: (seeded(lambda: gradients.Layer(detaching)), mse_loss),
    "data": lambda: (seeded(lambda: gradients.Layer(lambda x: torch.tanh(x) * x.data)), mse_loss),
    "item": lambda: (seeded(lambda: gradients.Layer(torch.tanh)), gradients.Scaled()),
    "backward by hand": lambda: (
        seeded(lambda: gradients.Layer(gradients.Swish.apply)),
        mse_loss,
    ),
}


def pictures(kind: str, count: int, size: int) -> Episode:
    """Return one two-way task of small pictures, of which batch statistics see few values."""
    drawn = torch.rand(1, count, 3, size, size, generator=torch.Generator().manual_seed(0))
    x = {"flat": drawn[..., :1, :1].expand_as(drawn), "equal": torch.ones_like(drawn)}
    batch = Batch(x.get(kind, drawn), torch.arange(count)[None] % 2, ways=torch.tensor([2]))
    return Episode(batch, batch)


@pytest.mark.parametrize("hidden", [8, 64])
@pytest.mark.parametrize("size", [4, 8, 12, 16])
@pytest.mark.parametrize("kind", ["noise", "flat", "equal"])
def test_small_pictures_raise_no_alarm(
    kind: str, size: int, hidden: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Batch statistics of two values bend the loss within a hundredth of a step."""
    with caplog.at_level(logging.WARNING, logger="metaccord"):
        for count in (2, 4):
            model = seeded(lambda: mc.models.Conv4(2, 3, hidden, size))
            inspected(model, cross_entropy, pictures(kind, count, size))
    assert not caplog.text


def test_a_cut_is_found_on_small_pictures_too(caplog: pytest.LogCaptureFixture) -> None:
    model = seeded(lambda: mc.models.Conv4(2, 3, 64, 8))
    model.body[2].register_forward_hook(lambda module, given, found: detaching(found))
    with caplog.at_level(logging.WARNING, logger="metaccord"):
        inspected(model, cross_entropy, pictures("noise", 2, 8))
    assert "cuts the graph" in caplog.text


def detaching(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) * torch.sigmoid(x.detach())


@pytest.mark.parametrize("name", CUT)
def test_first_order_in_disguise_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model, criterion = CUT[name]()
    with caplog.at_level(logging.WARNING, logger="metaccord"):
        inspected(model, criterion, regression(2))
    assert "cuts the graph" in caplog.text
    caplog.clear()
    inspected(model, criterion, regression(2), methods.fomaml(1, 0.1))
    inspected(model, criterion, regression(2), None)
    assert not caplog.text


def test_no_second_derivative_is_refused_before_the_first_step() -> None:
    model = seeded(lambda: gradients.Layer(gradients.OnceOnly.apply))
    with pytest.raises(UsageError, match=r"no second derivative.*once_differentiable.*fomaml"):
        inspected(model, mse_loss, regression(2))
    inspected(model, mse_loss, regression(2), methods.fomaml(1, 0.1))
    attention = seeded(lambda: gradients.Attention(gradients.attended))
    with pytest.raises(UsageError, match="no second derivative"):
        inspected(attention, mse_loss, regression(2, (3, 4)))


@pytest.mark.parametrize("name", cases.MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_sound_models_are_silent(name: str, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    model = cases.module(name, torch.float32, seed)
    criterion = cases.objective(name).criterion
    inspected(model, criterion, cases.episodes(name, 2, torch.float32, seed))
    assert not caplog.text


def test_dropout_is_inspected_with_fixed_masks(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Clusters().episodes("train", 0, range(2))
    inspected(classifier(nn.Dropout(0.5)), cross_entropy, tasks)
    assert not caplog.text


def test_who_differentiates_twice() -> None:
    twice = {"maml", "anil", "boil", "meta_sgd", "maml_pp", "imaml"}
    assert {name for name, method in cases.BASES.items() if differentiates_twice(method)} == twice


def test_it_costs_less_than_two_per_cent_of_a_thousand_steps() -> None:
    """On the smallest default; processor time, the best of several, so that load matters little."""
    found = default("sinusoid")
    objective = found.objective()
    state = mc.initialise(found.method, objective, seed=0)
    tasks = found.tasks.episodes("train", 0, range(found.num_tasks))

    def seconds(fn: Callable[[], Any]) -> float:
        times = []
        for _ in range(7):
            start = time.process_time()
            fn()
            times.append(time.process_time() - start)
        return min(times)

    look = seconds(lambda: inspect(objective, state, tasks, found.method))
    step = seconds(lambda: mc.meta_gradient(found.method, objective, state, tasks))
    print(f"inspection {look:.4f} s, {look / (1000 * step):.2%} of 1000 meta-gradients")
    assert look < 0.02 * 1000 * step
