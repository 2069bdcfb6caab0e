"""Small smooth networks and tasks on which derivatives are measured by differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from metaccord import losses, methods
from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.estimators import MAML
from metaccord.interactions import GradientSharing
from metaccord.method import Method, initialise
from metaccord.models import MLP
from metaccord.objective import Objective
from metaccord.rules import SGD, Adam, Momentum
from metaccord.selftest.arrays import numbers, tensor
from metaccord.step import meta_gradient
from metaccord.tree import expand
from metaccord.types import Batch, Episode, MetaState, MetaStep, Params
from metaccord.unroll import query_losses, unroll

Model = Callable[[], nn.Module]


def tiny() -> nn.Module:
    """Return the smallest network with a body and a head: 7 parameters."""
    return MLP(1, (2,), 1, activation="tanh")


def tanh() -> nn.Module:
    """Return a tanh network."""
    return MLP(1, (12, 12), 1, activation="tanh")


def gelu() -> nn.Module:
    """Return a GELU network."""
    return MLP(1, (12, 12), 1, activation="gelu")


class Normalised(nn.Module):
    """A convolutional network with batch statistics: [n, 1] -> [n, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(1, 12),
            nn.Tanh(),
            nn.Unflatten(1, (1, 12)),
            nn.Conv1d(1, 3, 3, padding=1),
            nn.BatchNorm1d(3, track_running_stats=False),
            nn.Tanh(),
            nn.Flatten(),
        )
        self.head = nn.Linear(36, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        return self.head(self.body(x))


def exact(steps: int, lr: float) -> dict[str, Method]:
    """Return the methods whose meta-gradient is the gradient of their mean query loss."""
    maml = methods.maml(steps, lr)
    adam = Adam(steps=steps, lr=lr, beta1=0.7, beta2=0.9, eps=0.1)
    sharing = GradientSharing(differentiate=True)
    return {
        "maml": Method(name="maml", rule=SGD(steps=steps, lr=lr), estimator=MAML()),
        "anil": methods.anil(steps, lr),
        "boil": methods.boil(steps, lr),
        "meta_sgd": methods.meta_sgd(steps, lr),
        "maml_pp": methods.maml_pp(steps, lr, horizon=1, epoch=1),
        "momentum": Method(
            name="momentum", rule=Momentum(steps=steps, lr=lr, momentum=0.6), estimator=MAML()
        ),
        "adam": Method(name="adam", rule=adam, estimator=MAML()),
        "sharing": maml.with_interaction(sharing),
        "coherent": methods.coherent(maml, rate=0.3, differentiate=True),
    }


@dataclass(frozen=True)
class Setting:
    """A meta-objective: the mean query loss after adaptation, as a function of what is learned.

    Args:
        method: How tasks adapt.
        objective: Model and criterion.
        state: Where.
        episodes: The tasks.
    """

    method: Method
    objective: Objective
    state: MetaState
    episodes: Episode

    def at(self, values: Params) -> Setting:
        """Return the same at other learned tensors."""
        return replace(self, state=self.state._replace(params=values))

    def loss(self, values: Params) -> Tensor:
        """Return the mean query loss, differentiable by the learned tensors: ``[]``."""
        count = len(self.episodes.query.targets)
        run = unroll(
            self.method,
            self.objective,
            expand(values, count),
            self.state.running,
            self.episodes,
            TaskAxis(count),
            create_graph=True,
        )
        found = query_losses(self.method, self.objective, run).losses
        assert found is not None
        return found.mean()

    def step(self) -> MetaStep:
        """Return the library's meta-step."""
        return meta_gradient(self.method, self.objective, self.state, self.episodes)


def setting(method: Method, model: Model, seed: int, tasks: int = 3, shots: int = 4) -> Setting:
    """Return a meta-objective on random regression tasks, in float64."""
    objective = Objective(model().double(), losses.mse, Plan(chunk="all"))
    state = initialise(method, objective, seed=seed)
    noise = torch.Generator().manual_seed(seed)
    params = {k: tensor(v) for k, v in numbers(state.params).items()}
    params = {
        k: v + 0.1 * torch.randn(v.shape, generator=noise).double() for k, v in params.items()
    }
    x = torch.rand(tasks, 2 * shots, 1, generator=noise).double() * 4 - 2
    high, apart = torch.rand(2, tasks, 1, 1, generator=noise).double() + 0.5
    y = high * torch.sin(2 * x + 3 * apart)
    support = Batch(x[:, :shots], y[:, :shots])
    episodes = Episode(support, Batch(x[:, shots:], y[:, shots:]))
    running = {k: v.double() if v.is_floating_point() else v for k, v in state.running.items()}
    # MAML++ counts the loss after the last step alone once its horizon has passed.
    running |= {k: torch.tensor(10) for k in running if k == "estimator.step"}
    return Setting(method, objective, MetaState(params, running, 10), episodes)
