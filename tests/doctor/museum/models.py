"""Models, losses and inner loops with a fault, or with a part that needs another engine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils import parametrizations

import metaccord as mc
from tests.doctor.museum.exhibit import (
    FEATURES,
    WAYS,
    Clusters,
    Exhibit,
    Parts,
    classifier,
    regression,
    seeded,
)


class Noise(nn.Module):
    """Home-made dropout from the global generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(x.shape[-1]) > 0.5)


class Counter(nn.Module):
    """Output that grows from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.01 * self.calls)


class Tally(nn.Module):
    """Counts in a buffer, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(x.detach().sum() * 0 + 1)
        return x


class Branch(nn.Module):
    """Decides by a tensor's value."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if x.detach().square().sum() > 0 else x


class Recurrent(nn.Module):
    """Reads a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class Encoder(nn.Module):
    """A transformer encoder over the places of an example."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))


class Idle(nn.Module):
    """Holds a layer that forward forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = nn.Linear(FEATURES, WAYS), nn.Linear(FEATURES, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def sum_of_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum()


def dead() -> nn.Module:
    """A ReLU at the output whose unit never fires."""
    model: Any = seeded(
        lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.ReLU())
    )
    nn.init.constant_(model[2].bias, -50.0)
    return model


def frozen() -> nn.Module:
    model: Any = classifier()
    model[0].requires_grad_(False)
    return model


def clusters(model: nn.Module, method: mc.Method | None = None, criterion: Any = None) -> Parts:
    chosen = method or mc.methods.maml(steps=2, lr=0.1)
    return Parts(model, criterion or cross_entropy, Clusters(), chosen)


EXHIBITS = (
    Exhibit(
        "BatchNorm with running statistics",
        "running_statistics",
        "facebookresearch/higher#55",
        lambda: clusters(classifier(nn.BatchNorm1d(8))),
    ),
    Exhibit(
        "LayerNorm at third order",
        "third_order",
        "pytorch/pytorch#176234",
        lambda: clusters(classifier(nn.LayerNorm(8))),
    ),
    Exhibit(
        "weight_norm, whose second derivative is wrong",
        "weight_norm",
        # There the inner loop raises; that the derivative is wrong was seen here, with torch 2.13.
        "facebookresearch/higher#14",
        lambda: clusters(classifier(seeded(lambda: parametrizations.weight_norm(nn.Linear(8, 8))))),
    ),
    Exhibit(
        "spectral_norm, which changes its buffers in place",
        "spectral_norm",
        "pytorch/pytorch#62293",
        lambda: clusters(
            classifier(seeded(lambda: parametrizations.spectral_norm(nn.Linear(8, 8))))
        ),
    ),
    Exhibit(
        "a fused transformer layer",
        "fused_attention",
        "learnables/learn2learn#429",
        lambda: Parts(seeded(Encoder), mse_loss, regression(shape=(3, 4))),
    ),
    Exhibit(
        "a recurrent network under vmap, or with cuDNN",
        "recurrent",
        "pytorch/pytorch#5261",
        lambda: Parts(seeded(Recurrent), mse_loss, regression(shape=(3, 4))),
    ),
    Exhibit(
        "a buffer changed in place",
        "in_place_buffer",
        "pytorch/functorch#986",
        lambda: clusters(classifier(Tally())),
    ),
    Exhibit(
        "control flow that depends on data",
        "data_dependent",
        "pytorch/functorch#257",
        lambda: clusters(classifier(Branch())),
    ),
    Exhibit(
        "masks from the global generator",
        "not_deterministic",
        "harvard-edge/cs249r_book#1869",
        lambda: clusters(classifier(Noise())),
    ),
    Exhibit(
        "state from call to call",
        "not_deterministic",
        "josephjaspers/blackcat_tensors#45",
        lambda: clusters(classifier(Counter())),
    ),
    Exhibit(
        "a layer that forward forgets",
        "no_gradient",
        "learnables/learn2learn#314",
        lambda: clusters(seeded(Idle)),
    ),
    Exhibit(
        "frozen layers",
        "frozen",
        "facebookresearch/higher#8",
        lambda: clusters(frozen()),
    ),
    Exhibit(
        "softmax before cross_entropy",
        "softmax_twice",
        "gitabcworld/MatchingNetworks#5",
        lambda: clusters(nn.Sequential(classifier(), nn.Softmax(1))),
    ),
    Exhibit(
        "a loss summed over examples",
        "not_mean",
        "utcsilab/deepinpy#13",
        lambda: Parts(
            seeded(lambda: nn.Linear(3, 1)), sum_of_squares, regression(), mc.methods.maml(1, 0.01)
        ),
    ),
    Exhibit(
        "a dead head",
        "dead_head",
        "chelsea0x3b/dfdx#486",
        lambda: Parts(dead(), mse_loss, regression()),
    ),
    Exhibit(
        "an inner step that explodes",
        "exploding_step",
        "cnguyen10/few_shot_meta_learning#12",
        lambda: Parts(
            seeded(lambda: nn.Linear(3, 1)), mse_loss, regression(), mc.methods.maml(5, 5.0)
        ),
    ),
    Exhibit(
        "an inner loop that moves nothing",
        "no_gain",
        "learnables/learn2learn#236",
        lambda: clusters(classifier(), mc.methods.maml(steps=1, lr=1e-7)),
    ),
    Exhibit(
        "fewer outputs than classes",
        "does_not_run",
        "TencentGameMate/gnn_cross_lingual#5",
        lambda: clusters(seeded(lambda: nn.Linear(FEATURES, 2))),
    ),
)
