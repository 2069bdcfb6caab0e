"""The certificate: right gradients pass, planted mistakes of every kind do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import metaccord as mc
from metaccord.differences import Smooth, along, directions, dot, length, relative, slope
from metaccord.doctor import certificate as made
from metaccord.doctor import check
from metaccord.doctor.certificate import certify
from metaccord.doctor.findings import Certificate, Finding, Report
from metaccord.doctor.kinds import KINDS
from metaccord.types import Params
from tests import cases
from tests.doctor.museum.exhibit import Clusters, classifier, seeded

NORMS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "batch": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
}
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.GELU)
METHODS = {
    "maml": mc.methods.maml,
    "fomaml": mc.methods.fomaml,
    "reptile": lambda steps, lr: mc.methods.reptile(steps, lr, batch=None),
    "anil": lambda steps, lr: mc.methods.anil(steps, lr, head=("5",)),
    "meta_sgd": mc.methods.meta_sgd,
}
GRID = [
    (norm, pool, activation, chunk, method, steps)
    for i, (norm, pool, activation, chunk, method, steps) in enumerate(
        product(NORMS, POOLS, ACTIVATIONS, (1, 2, "all"), METHODS, (1, 3))
    )
    if i % 23 == 0  # every factor meets every other one
]


@pytest.mark.parametrize(("norm", "pool", "activation", "chunk", "method", "steps"), GRID)
def test_right_gradients_pass(
    norm: str, pool: Any, activation: Any, chunk: Any, method: str, steps: int
) -> None:
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            NORMS[norm](),
            activation(),
            pool(2),
            nn.Flatten(),
            nn.Linear(36, 3),
        )
    ).double()
    chosen = METHODS[method](steps, 0.1)
    objective = mc.Objective(model, cross_entropy, mc.Plan(chunk=chunk))
    tasks = cases.episodes("convolution", 3)
    found = certify(chosen, objective, mc.initialise(chosen, objective), tasks)
    assert found.passed, str(found)
    loop = method in ("maml", "fomaml", "reptile", "anil")
    assert (found.loop is not None) == loop
    assert (found.differences is not None) == (method not in ("fomaml", "reptile"))


@pytest.mark.parametrize("size", [1e-4, 1e-8, math.nan])
def test_small_errors_in_the_engine_are_seen(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = made.meta_gradient, []

    def wrong(*arguments: Any) -> mc.MetaStep:
        calls.append(1)
        step = honest(*arguments)
        return step._replace(grads={k: v * (1 + size) for k, v in step.grads.items()})

    goal, method = cases.objective("plain"), mc.methods.maml(steps=2, lr=0.2)
    state, tasks = mc.initialise(method, goal), cases.episodes("plain", 3)
    assert certify(method, goal, state, tasks).passed
    monkeypatch.setattr(made, "meta_gradient", wrong)
    assert not certify(method, goal, state, tasks).passed
    assert calls


@pytest.mark.parametrize(
    "swapped", ["fomaml", "reptile", "maml of other rate", "maml of other steps"]
)
def test_another_methods_gradient_fails(swapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        "fomaml": mc.methods.fomaml(2, 0.2),
        "reptile": mc.methods.reptile(2, 0.2, batch=None),
        "maml of other rate": mc.methods.maml(2, 0.21),
        "maml of other steps": mc.methods.maml(3, 0.2),
    }[swapped]
    honest = made.meta_gradient
    monkeypatch.setattr(made, "meta_gradient", lambda method, *rest: honest(other, *rest))
    goal, method = cases.objective("plain"), mc.methods.maml(steps=2, lr=0.2)
    state, tasks = mc.initialise(method, goal), cases.episodes("plain", 3)
    found = certify(method, goal, state, tasks)
    assert found.loop is not None
    assert found.differences is not None
    assert found.loop > 1e-3
    assert found.differences > 1e-3


def test_differences_alone_see_what_both_roads_share() -> None:
    """Loop and engine share the forward pass; a cut graph fools both, differences do not."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.body(x)) * self.body(x).detach())

    goal = mc.Objective(seeded(Cut).double(), nn.functional.mse_loss, mc.Plan(chunk="all"))
    method = mc.methods.maml(steps=2, lr=0.1)
    found = certify(method, goal, mc.initialise(method, goal), cases.episodes("plain", 3))
    assert found.loop is not None
    assert found.loop <= 1e-12
    assert found.differences is not None
    assert found.differences > 1e-2


def test_check_changes_nothing() -> None:
    model = classifier(nn.BatchNorm1d(8), nn.Dropout(0.2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    generator = torch.random.get_rng_state()
    check(model, cross_entropy, mc.methods.maml(2, 0.1), Clusters())
    assert torch.equal(generator, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_same_call_gives_the_same_report() -> None:
    parts = classifier(), cross_entropy, mc.methods.maml(2, 0.1), Clusters()
    assert check(*parts) == check(*parts)


def test_a_trained_state_is_checked_where_it_is() -> None:
    model, method = classifier(), mc.methods.maml(2, 0.1)
    state = mc.initialise(method, mc.Objective(model, cross_entropy))
    lost = state._replace(params={k: v * math.nan for k, v in state.params.items()})
    assert check(model, cross_entropy, method, Clusters(), state=state).healthy
    assert "exploding_step" in check(model, cross_entropy, method, Clusters(), state=lost).codes


def test_slopes() -> None:
    for f, true in (
        (math.sin, 1.0),
        (lambda h: math.exp(3 * h), 3.0),
        (lambda h: 1 / (1 + h), -1.0),
        (lambda h: 5.0, 0.0),
        (lambda h: math.atan(3e3 * h + 1), 1.5e3),  # bent long before the first step
    ):
        assert slope(f) == pytest.approx(true, rel=1e-8, abs=1e-11)
    assert math.isnan(slope(lambda h: math.nan))  # NaN stays NaN


def test_directions_are_seeded_and_as_long_as_the_point() -> None:
    at: Params = {"a": torch.full((3,), 2.0, dtype=torch.float64), "b": torch.ones(2).double()}
    first, again = directions(at, 2), directions(at, 2)
    assert all(torch.equal(x[k], y[k]) for x, y in zip(first, again, strict=True) for k in at)
    assert [length(d) for d in first] == pytest.approx([length(at)] * 2)
    moved = along(at, first[0], 0.5)
    assert relative(moved, at) == pytest.approx(0.5)
    assert dot(at, at) == pytest.approx(14.0)


def test_smooth_twins_have_shapes_and_no_kinks() -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "relu": nn.ReLU(),
        "relu in place": lambda t: nn.functional.relu(t.clone(), inplace=True),
        "method": torch.Tensor.relu,
        "relu6": nn.ReLU6(),
        "leaky": nn.LeakyReLU(0.1),
        "prelu": nn.PReLU(4).double(),
        "hardtanh": nn.Hardtanh(),
        "elu": nn.ELU(),
        "maximum": nn.MaxPool2d(3, stride=2, padding=1),
        "function": lambda t: nn.functional.max_pool2d(t, 2, ceil_mode=True),
        "adaptive": nn.AdaptiveMaxPool2d(3),
    }
    for name, function in functions.items():
        with torch.no_grad():
            kinked = function(x)
            with Smooth() as smooth:
                twin = function(x)
        assert twin.shape == kinked.shape, name
        assert len(smooth.replaced) == 1, name
        assert not torch.equal(twin, kinked), name
        assert not smooth.kinks, name


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), 0),
        (("frozen",), 0),
        (("not_mean",), 0),
        (("no_gain",), 2),
        (("overlap",), 3),
        (("overlap", "no_gain"), 3),
        (("overlap", "first_order", "no_gain"), 5),
    ],
)
def test_exit_codes(codes: tuple[str, ...], expected: int) -> None:
    report = Report(tuple(Finding(code, "found") for code in codes))
    assert report.exit_code == expected
    assert report.json()["exit_code"] == expected
    assert report.healthy == all(KINDS[code].level == "notice" for code in codes)


def test_bounds_of_the_certificate() -> None:
    good = Certificate("maml", 1e-10, 1e-7, 3)
    assert good.passed
    assert not replace(good, loop=1.1e-9).passed
    assert not replace(good, differences=1.1e-6).passed
    assert not replace(good, loop=math.nan).passed
    assert replace(good, loop=None).passed
