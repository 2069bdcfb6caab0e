"""Gradient Agreement as a weighting of TorchJD."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from tests import tolerances
from tests.reference import quadratics
from tests.reference.compare import relative_error

pytest.importorskip("torchjd")
from torchjd.autogram import Engine
from torchjd.autojac import backward, jac_to_grad

from metaccord.torchjd import Agreement, AgreementWeighting


def draws(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator, dtype=torch.float64)


def by_hand(rows: Tensor) -> Tensor:
    return torch.from_numpy(quadratics.agreement_weights(rows.numpy()))


@pytest.mark.parametrize("count", [1, 2, 5, 25])
def test_weights_equal_the_matrix_form(count: int) -> None:
    for seed in range(10):
        g = draws(count, seed)
        w = AgreementWeighting()(g @ g.T)
        assert relative_error(w, by_hand(g)) <= tolerances.TWIN_F64
        assert relative_error(Agreement()(g), w @ g) <= tolerances.TWIN_F64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cancelling_rows_are_uniform(dtype: torch.dtype) -> None:
    a, b = draws(2).to(dtype)
    for group in ((a, -a), (0 * a, 0 * b), (a, b, -(a + b)), (-(a + b), a, b)):
        g = torch.stack(group)
        w = AgreementWeighting()(g @ g.T)
        assert w.tolist() == pytest.approx([1 / len(g)] * len(g))
        assert w.dtype == dtype


def test_two_losses_by_hand() -> None:
    """Gradients (2, 0) and (2, 6): scores 8 and 44, weights 8/52 and 44/52."""
    x = nn.Parameter(torch.tensor([1.0, 3.0], dtype=torch.float64))
    losses = torch.stack([x[0] ** 2, (x**2).sum()])
    backward(losses, inputs=[x])
    jac_to_grad([x], Agreement())
    first, second = 8 / 52, 44 / 52
    assert x.grad is not None
    expected = torch.tensor([2 * first + 2 * second, 6 * second], dtype=torch.float64)
    assert relative_error(x.grad, expected) <= 1e-15


def test_it_serves_jacobians_of_several_tensors_and_gramians() -> None:
    """``jac_to_grad`` and the engine of Gramians weigh alike: as we do from the whole rows."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(3, 4, generator=generator), torch.randn(3, 1, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    params = list(net.parameters())
    rows = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, params, retain_graph=True)])
            for loss in (net(x) - y).square().mean(1)
        ]
    ).double()
    expected = by_hand(rows) @ rows
    backward((net(x) - y).square().mean(1), inputs=params)
    jac_to_grad(params, Agreement())
    grads = [torch.cat([p.grad.flatten() for p in params if p.grad is not None])]
    net.zero_grad()
    engine = Engine(net, batch_dim=0)
    losses = (net(x) - y).square().mean(1)
    losses.backward(AgreementWeighting()(engine.compute_gramian(losses)))
    grads.append(torch.cat([p.grad.flatten() for p in params if p.grad is not None]))
    for found in grads:
        assert relative_error(found, expected) <= 1e-5


def test_it_is_an_aggregator_like_any_other() -> None:
    """Reptile's rows are the displacements, so there it is the interaction itself."""
    method = mc.methods.aggregated(mc.methods.reptile(steps=2, batch=None), Agreement())
    ours = mc.methods.gradient_agreement(mc.methods.reptile(steps=2, batch=None))
    tasks = mc.tasks.Quadratics()
    goal = mc.Objective(mc.tasks.Point(tasks.dim).double(), mc.tasks.mean_height)
    episodes = tasks.episodes("train", 0, range(4))
    found, expected = (
        mc.meta_gradient(m, goal, mc.initialise(m, goal, seed=0), episodes).grads
        for m in (method, ours)
    )
    assert relative_error(found, expected) <= tolerances.TWIN_F64


def test_nothing_imports_it_but_who_asks() -> None:
    root = Path(mc.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "torchjd" in (text := path.read_text())
        for node in ast.parse(text).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "torchjd" in ast.unparse(node)
    }
    assert users == {"torchjd.py"}
