"""What the tests of interactions share: methods under way, random learned tensors, a co-learner."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import metaccord as mc
from metaccord import tree
from metaccord.types import Episode, Params, Stacked
from tests import cases

KINDS = ("share", "past")


class Vectors(nn.Module):
    """Features ``[n, width]`` through one hidden layer."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        return self.last(torch.relu(self.first(x)))


class Pictures(nn.Module):
    """Features ``[n, channels, height, width]`` through two blocks and a linear layer."""

    def __init__(self, inputs: int, width: int, outputs: int, sides: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(i, width, 3, padding=1) for i in (inputs, width))
        self.first_norm, self.second_norm = (
            nn.BatchNorm2d(width, track_running_stats=False) for _ in range(2)
        )
        self.by = 2 if min(sides) > 1 else 1
        self.last = nn.Linear(width * (sides[0] // self.by) * (sides[1] // self.by), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        x = torch.relu(self.first_norm(self.first(x)))
        x = torch.relu(self.second_norm(self.second(x)))
        return self.last(F.max_pool2d(x, self.by).flatten(1))


def colearner(shape: tuple[int, ...], outputs: int, width: int | None = None) -> nn.Module:
    """Return the module of ``second_head``, in float64 and with weights of its own."""
    inputs, *sides = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if not sides:
            return Vectors(inputs, width or inputs, outputs).double()
        return Pictures(inputs, width or inputs, outputs, (sides[0], sides[1])).double()


def noise(like: Params, seed: int, size: float = 1.0) -> Params:
    """Return normal numbers of the same names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        k: size * torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.dtype)
        for k, v in like.items()
    }


def started(method: mc.Method, goal: mc.Objective, seed: int = 0) -> mc.MetaState:
    """Return a state whose sharing coefficients are all different."""
    state = mc.initialise(method, goal)
    chosen = tree.scope(state.params, "interaction.sharing")
    moved = tree.under(noise(chosen, seed), "interaction.sharing")
    return state._replace(params=state.params | moved)


def moved(state: mc.MetaState, step: mc.MetaStep, rate: float = 0.3) -> mc.MetaState:
    """Return the state after an outer step of gradient descent."""
    params = {k: v - rate * step.grads[k] for k, v in state.params.items()}
    return mc.MetaState(params, step.running, state.step + 1)


def once(
    method: mc.Method,
    goal: mc.Objective,
    found: Episode,
    state: mc.MetaState | None = None,
) -> mc.MetaStep:
    """Return one meta-step from a started state."""
    return mc.meta_gradient(method, goal, state or started(method, goal), found)


def after(method: mc.Method, goal: mc.Objective, net: str, steps: int = 2) -> mc.MetaState:
    """Return the state after some meta-steps on a model of the matrix: there is history."""
    state = started(method, goal)
    for index in range(steps):
        state = moved(state, once(method, goal, cases.episodes(net, seed=index), state))
    return state


def own(rows: Stacked, name: str) -> Stacked:
    """Return what belongs to an interaction, without prefix."""
    return tree.scope(rows, f"interaction.{name}")


def same(found: Episode, count: int = 3) -> Episode:
    """Return the first task several times."""
    return tree.mapped(lambda t: t[:1].expand(count, *t.shape[1:]), found)
