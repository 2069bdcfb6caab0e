"""What the tests of WarpGrad share: networks with warp layers, moved off their start."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import keys
from metaccord.estimators import Warp
from metaccord.models import MLP, Conv4
from metaccord.rules import SGD
from metaccord.types import Episode, MetaState
from tests import cases

LR = 0.2
LAYERS = {  # of the models of the matrix, what serves as warp layers
    "plain": ("body.0",), "layernorm": ("body.0", "body.1"), "batchnorm2d": ("body.0",),
    "groupnorm": ("body.1",), "instancenorm2d": ("head",), "tied": ("first",),
    "MLP": ("warp",), "Conv4": ("warp",),
}  # fmt: skip


def built(name: str, *, warped: bool = True) -> nn.Module:
    """Return a model of ours from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if name == "MLP":
            return MLP(3, (4, 3), activation="tanh", warp=warped).double()
        return Conv4(3, hidden=2, size=6, warp=warped).double()


def problem(name: str, plan: mc.Plan | None = None, count: int = 3) -> tuple[mc.Objective, Episode]:
    """Return an objective and episodes for a model of the matrix or of ours."""
    net = {"MLP": "plain", "Conv4": "batchnorm2d"}.get(name, name)
    found = cases.episodes(net, count)
    if net == name:
        return cases.objective(name, plan), found
    criterion = mse_loss if name == "MLP" else cross_entropy
    return mc.Objective(built(name), criterion, plan or mc.Plan(chunk="all")), found


def started(method: mc.Method, goal: mc.Objective, by: float = 0.3) -> MetaState:
    """Return a state whose tensors, and so the warp layers, are moved off their start."""
    state = mc.initialise(method, goal)
    moved = {
        k: v + by * (keys.uniform(torch.tensor(i), tuple(v.shape)).to(v) - 0.5)
        for i, (k, v) in enumerate(state.params.items())
    }
    return state._replace(params=moved)


def warps(name: str, key: str) -> bool:
    return any(key.startswith(f"{layer}.") for layer in LAYERS[name])


def method_of(
    name: str, *, start: bool = False, ahead: bool = False, batch: int | None = None
) -> mc.Method:
    rule = SGD(steps=2, lr=LR, never=LAYERS[name], batch=batch)
    estimator = Warp(first_order=start, lookahead_first_order=ahead)
    return mc.Method(name="warp", rule=rule, estimator=estimator)
