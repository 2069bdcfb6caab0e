"""Meta-gradients that are not what they seem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.functional import cross_entropy, mse_loss

import metaccord as mc
from metaccord import tree
from metaccord.estimators import MAML
from metaccord.rules import SGD
from metaccord.types import Stacked
from tests.doctor.museum.exhibit import Clusters, Exhibit, Parts, classifier, regression, seeded


@dataclass(frozen=True, kw_only=True)
class FirstOrder(SGD):
    """Plain descent, but the graph of the inner gradient is thrown away."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        return super().update(learned, params, tree.detached(grads), carry, step)


@dataclass(frozen=True, kw_only=True)
class Restart(SGD):
    """Plain descent that forgets where it came from: everything is detached."""

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        moved, carry = super().update(learned, params, grads, carry, step)
        return {k: 0.5 * (v + v.detach()) for k, v in moved.items()}, carry


class Layer(nn.Module):
    """A network with a function in its middle."""

    def __init__(self, fn: Any) -> None:
        super().__init__()
        self.body, self.fn, self.head = nn.Linear(3, 8), fn, nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fn(self.body(x)))


class OnceOnly(torch.autograd.Function):
    """The square, with a backward pass marked as final."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * grad


class Swish(torch.autograd.Function):
    """x sigmoid(x), with the hand-written backward pass of many memory-saving copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = (torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))).detach()
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.slope


def attended(x: Tensor) -> Tensor:
    """Fused attention with one head over the places of ``[n, places, 12]``."""
    parts = [part.unsqueeze(1) for part in x.chunk(3, -1)]
    return F.scaled_dot_product_attention(*parts).squeeze(1)


class Attention(nn.Module):
    """Attention that is handed in, so that no class tells of it."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention
        self.mix, self.head = nn.Linear(4, 12), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(self.mix(x)).mean(1))


class NormPenalty(nn.Module):
    """A criterion with the length of what starts at zero."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(outputs, targets) + 0.01 * torch.linalg.vector_norm(outputs)


class Scaled(nn.Module):
    """A loss scaled by itself as a number."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = mse_loss(outputs, targets)
        return loss * (1 + loss.item())


def layer(fn: Any) -> Parts:
    return Parts(seeded(lambda: Layer(fn)), mse_loss, regression())


def ruled(rule: SGD) -> mc.Method:
    return mc.Method(name="maml", rule=rule, estimator=MAML())


def silent() -> nn.Module:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    return model


EXHIBITS = (
    Exhibit(
        "an inner loop without create_graph",
        "first_order",
        "dragen1860/MAML-Pytorch#26",
        lambda: Parts(classifier(), cross_entropy, Clusters(), ruled(FirstOrder(steps=2, lr=0.1))),
    ),
    Exhibit(
        "a first-order loop posing as MAML in a benchmark",
        "first_order",
        "pytorch/benchmark#328",
        lambda: Parts(
            layer(torch.tanh).model, mse_loss, regression(), ruled(FirstOrder(steps=1, lr=0.3))
        ),
    ),
    Exhibit(
        "updates that are partly detached",
        "wrong_gradient",
        "KanishJebaMathewM/Truxify#13118",
        lambda: Parts(classifier(), cross_entropy, Clusters(), ruled(Restart(steps=2, lr=0.1))),
    ),
    Exhibit(
        "detach() inside a layer",
        "cut_gradient",
        "microsoft/MetaXL#4",
        lambda: layer(lambda x: torch.tanh(x) * torch.sigmoid(x.detach())),
    ),
    Exhibit(
        ".data inside a layer",
        "cut_gradient",
        "d2l-ai/d2l-en#2600",
        lambda: layer(lambda x: torch.tanh(x) - x.data.mean(0)),
    ),
    Exhibit(
        "a loss that turns a tensor into a number",
        "cut_gradient",
        "isayev/ReLeaSE#39",
        lambda: Parts(layer(torch.tanh).model, Scaled(), regression()),
    ),
    Exhibit(
        "an operation marked once_differentiable",
        "once_differentiable",
        "facebookresearch/higher#137",
        lambda: layer(OnceOnly.apply),
    ),
    Exhibit(
        "a hand-written backward pass without graph",
        "second_derivative",
        "pytorch/pytorch#58509",
        lambda: layer(Swish.apply),
    ),
    Exhibit(
        "fused attention that no class shows",
        "once_differentiable",
        "pytorch/pytorch#116350",
        lambda: Parts(seeded(lambda: Attention(attended)), mse_loss, regression(shape=(3, 4))),
    ),
    Exhibit(
        "the second derivative of a square root at zero",
        "not_finite",
        "metaopt/torchopt#26",
        lambda: Parts(silent(), NormPenalty(), regression(), mc.methods.maml(steps=1, lr=0.1)),
    ),
)
