"""What the objective switches by itself: the second-order gradient is right, and it is said."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import mse_loss
from torch.nn.utils import parametrizations

import metaccord as mc
from metaccord import hazards, tree
from metaccord.doctor.certificate import certify
from metaccord.tuning import settled, tune
from metaccord.types import Batch, Episode
from tests import cases
from tests.doctor.museum.exhibit import regression, seeded
from tests.doctor.museum.models import Branch, Encoder, Recurrent, Tally

METHOD = mc.methods.maml(steps=2, lr=0.1)


class Places(nn.Module):
    """Something over the places of an example ``[n, 3, 4]``, then a head."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 4] -> [n, 1]."""
        return self.head(self.body(x).mean(1))


class Heads(nn.Module):
    """Fused attention with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        return fused(self.mix(x))


class SelfAttention(nn.Module):
    """torch's module, asked for no weights, so that it takes the fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Item(nn.Module):
    """Divides by a constant that it takes from the data as a number."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) / (2.0 if x.detach().abs().max().item() > 0 else 1.0)


def fused(x: Tensor) -> Tensor:
    """Fused attention, called by a helper."""
    q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in x.chunk(3, -1))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(nn.Linear(4, 4))


def lstm() -> nn.Module:
    model = Recurrent()
    model.body = nn.LSTM(4, 5, batch_first=True)
    return model


class Cell(nn.Module):
    """One step of a recurrent cell over the first place."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x[:, 0]))


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "transformer layer": (Encoder, "fused attention"),
    "attention module": (lambda: Places(SelfAttention()), "fused attention"),
    "attention function": (lambda: Places(Heads()), "fused attention"),
    "weight norm": (
        lambda: Places(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh())),
        "weight_norm",
    ),
    "weight norm, all at once": (
        lambda: Places(
            nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4), dim=None), nn.Tanh())
        ),
        "weight_norm",
    ),
    "weight norm, old form": (
        lambda: Places(nn.Sequential(old_weight_norm(), nn.Tanh())),
        "weight_norm",
    ),
    "GRU": (Recurrent, "recurrent"),
    "LSTM": (lstm, "recurrent"),
    "GRU cell": (Cell, "recurrent"),
    "item": (lambda: Places(nn.Sequential(nn.Linear(4, 4), Item())), "under vmap"),
    "branch": (lambda: Places(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), Branch())), "under vmap"),
    "buffer": (lambda: Places(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), Tally())), "under vmap"),
}


def episodes(count: int = 3) -> Episode:
    """Float64 tasks with inputs [n, 3, 4]."""
    return cases_double(regression(count, (3, 4)))


def cases_double(found: Episode) -> Episode:
    return tree.mapped(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, found)


def objective(name: str, chunk: Any = "all") -> mc.Objective:
    model = seeded(MODELS[name][0]).double()
    return mc.Objective(model, mse_loss, mc.Plan(chunk=chunk))


@pytest.mark.parametrize("chunk", [1, 2, "all"])
@pytest.mark.parametrize("name", MODELS)
def test_the_meta_gradient_is_right(name: str, chunk: Any) -> None:
    goal = objective(name, chunk)
    found = certify(METHOD, goal, mc.initialise(METHOD, goal), episodes())
    assert found.loop is not None
    assert found.loop <= 1e-9
    assert found.differences is not None
    assert found.differences <= 1e-6
    assert found.passed


@pytest.mark.parametrize("name", MODELS)
def test_the_switch_is_said_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    hazards.say.cache_clear()
    with caplog.at_level(logging.WARNING, logger="metaccord"):
        goal = objective(name)
        for _ in range(2):
            mc.meta_gradient(METHOD, goal, mc.initialise(METHOD, goal), episodes())
    said = [record.message for record in caplog.records if MODELS[name][1] in record.message]
    assert len(said) == 1, said


@pytest.mark.parametrize("name", ["GRU", "item", "branch", "buffer"])
def test_the_plan_of_a_training_is_a_loop(name: str) -> None:
    for chunk in ("auto", "all", 2):
        goal = objective(name, chunk)
        assert tune(METHOD, goal, mc.initialise(METHOD, goal), episodes()).chunk == 1
        assert settled(goal).plan.chunk == 1


def test_what_vmap_can_do_stays_under_vmap() -> None:
    for name in ("plain", "batchnorm2d", "layernorm"):
        goal = cases.objective(name)
        assert not goal.loops
        assert not any(goal.hazards)
        tune(METHOD, goal, mc.initialise(METHOD, goal), cases.episodes(name))
        assert not goal.loops


def test_torch_itself_is_wrong_without_the_switches() -> None:
    """If this fails, torch was mended and the switch may go."""
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    grad = torch.autograd.grad(F.scaled_dot_product_attention(x, x, x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivative"):
        torch.autograd.grad(grad[0].square().sum(), x)
    v, g = torch.randn(3, 4).double().requires_grad_(), torch.rand(3, 1).double().requires_grad_()

    def scaled(plain: bool) -> Tensor:
        mode = hazards.PlainWeightNorm()
        with mode if plain else warnings.catch_warnings():
            loss = torch._weight_norm(v, g, 0).sin().sum()
        first = torch.autograd.grad(loss, (v, g), create_graph=True)
        second = torch.autograd.grad(sum(f.cos().sum() for f in first), (v, g))
        return torch.cat([part.flatten() for part in second])

    gap = (scaled(True) - scaled(False)).norm() / scaled(True).norm()
    assert gap > 1e-3


def test_an_error_of_the_model_stays_the_models() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0 or x.sum() <= 0:
                raise RuntimeError("the user's own broadcast shape error")
            return self.body(x)

    goal = mc.Objective(Broken(), mse_loss, mc.Plan(chunk="all"))
    x = torch.randn(2, 3, 4)
    task = Episode(Batch(x, x[..., :1]), Batch(x, x[..., :1]))
    with pytest.raises(RuntimeError, match="user's own"):
        mc.meta_gradient(METHOD, goal, mc.initialise(METHOD, goal), task)


def test_random_draws_under_vmap_are_not_moved_into_a_loop() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) * torch.rand(())

    goal = mc.Objective(Noisy(), mse_loss, mc.Plan(chunk="all"))
    x = torch.randn(2, 3, 4)
    task = Episode(Batch(x, x[..., :1]), Batch(x, x[..., :1]))
    with pytest.raises(RuntimeError, match="random"):
        mc.meta_gradient(METHOD, goal, mc.initialise(METHOD, goal), task)
    assert not goal.loops
