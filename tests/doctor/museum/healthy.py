"""Sound set-ups: the doctor must be silent, apart from the notices that are listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy, l1_loss, mse_loss
from torch.nn.utils import parametrizations

import metaccord as mc
from metaccord import methods
from metaccord.defaults import default
from tests import cases
from tests.doctor.museum.exhibit import Clusters, Parts, classifier, regression, seeded
from tests.doctor.museum.models import Encoder, Recurrent


class Healthy(NamedTuple):
    """A sound set-up.

    Attributes:
        name: In words.
        build: Makes the arguments of ``check``.
        notices: Codes that may be said.
    """

    name: str
    build: Callable[[], Parts]
    notices: frozenset[str] = frozenset()


class Warped(nn.Module):
    """Reads its picture at learned places."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.head = nn.Parameter(torch.full((1, 2, 2, 2), 0.1)), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = self.shift.expand(len(x), 2, 2, 2)
        return self.head(F.grid_sample(x, places, align_corners=False).flatten(1))


def resting() -> nn.Module:
    """Spectral norm whose power iteration rests."""
    return classifier(parametrizations.spectral_norm(nn.Linear(8, 8))).eval()


def clusters(method: mc.Method, *middle: nn.Module) -> Parts:
    return Parts(classifier(*middle), cross_entropy, Clusters(), method)


def family(name: str, base: str = "maml") -> Parts:
    found = default(name, base)
    objective = found.objective()
    return Parts(objective.model, objective.criterion, found.tasks, found.method)


def pictures(norm: Callable[[], nn.Module]) -> Parts:
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            norm(),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 3),
        )
    )
    return Parts(model, cross_entropy, cases.Blobs(), methods.maml(steps=2, lr=0.1))


MAML = methods.maml(steps=2, lr=0.1)
GRID = frozenset({"grid_overlap"})
HEALTHY = (
    Healthy("sine waves", lambda: family("sinusoid"), GRID),
    Healthy("sine waves, Reptile", lambda: family("sinusoid", "reptile"), GRID),
    Healthy("sine waves, MAML++", lambda: family("sinusoid", "maml_pp"), GRID),
    Healthy("quadratics", lambda: family("quadratics"), GRID),
    Healthy("a classifier", lambda: clusters(MAML)),
    Healthy("first order, as declared", lambda: clusters(methods.fomaml(steps=2, lr=0.1))),
    Healthy("Reptile", lambda: clusters(methods.reptile(steps=3, lr=0.1, batch=4))),
    Healthy("Meta-SGD", lambda: clusters(methods.meta_sgd(steps=2, lr=0.1))),
    Healthy(
        "iMAML",
        lambda: clusters(methods.imaml(steps=3, lr=0.1)),
        frozenset({"uncertified"}),
    ),
    Healthy("agreement", lambda: clusters(methods.gradient_agreement(MAML))),
    Healthy("sharing", lambda: clusters(methods.gradient_sharing(MAML))),
    Healthy("RMSNorm", lambda: clusters(MAML, nn.RMSNorm(8))),
    Healthy("LayerNorm", lambda: clusters(MAML, nn.LayerNorm(8)), frozenset({"third_order"})),
    Healthy("dropout", lambda: clusters(MAML, nn.Dropout(0.3))),
    Healthy("spectral norm at rest", lambda: Parts(resting(), cross_entropy, Clusters())),
    Healthy("GroupNorm and maximum pooling", lambda: pictures(lambda: nn.GroupNorm(2, 4))),
    Healthy(
        "BatchNorm and maximum pooling",
        lambda: pictures(lambda: nn.BatchNorm2d(4, track_running_stats=False)),
        frozenset({"third_order"}),
    ),
    Healthy("shared weights", lambda: Parts(seeded(cases.Tied), mse_loss, regression())),
    Healthy(
        "absolute errors",
        lambda: Parts(
            seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))),
            l1_loss,
            regression(),
        ),
    ),
    Healthy("grid_sample", lambda: Parts(seeded(Warped), mse_loss, regression(shape=(1, 4, 4)))),
    Healthy(
        "a recurrent network",
        lambda: Parts(seeded(Recurrent), mse_loss, regression(shape=(3, 4))),
        frozenset({"recurrent"}),
    ),
    Healthy(
        "a transformer layer",
        lambda: Parts(seeded(Encoder), mse_loss, regression(shape=(3, 4))),
        frozenset({"fused_attention", "third_order"}),
    ),
    Healthy(
        "weight norm",
        lambda: clusters(MAML, seeded(lambda: parametrizations.weight_norm(nn.Linear(8, 8)))),
        frozenset({"weight_norm"}),
    ),
)
