"""Networks for nodes of a graph, to be used with :class:`metaccord.tasks.Nodes`.

Legend: n nodes of a batch, q rows of each one's share of the neighbourhood, F features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metaccord.errors import UsageError

_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh}
Activation = Literal["relu", "tanh"]


class SGC(nn.Module):
    """Simplified graph convolution: a linear network on features propagated beforehand.

    Args:
        features: Features of a node.
        ways: Number of classes.
        hidden: Width of the features that the head reads.
        activation: After the hidden layer; ``"none"`` as published, where all is linear.

    Shape:
        features [n, F] (``tasks.form=propagated``) -> [n, ways].
    Reference:
        Wu et al., Simplifying Graph Convolutional Networks, ICML 2019, Eq. (8).
    Differs:
        The linear map has two factors, the body and the head.
    """

    def __init__(
        self,
        features: int,
        ways: int = 2,
        hidden: int = 64,
        *,
        activation: Literal["none", "relu", "tanh"] = "none",
    ) -> None:
        super().__init__()
        self.width = features
        self.body = nn.Sequential(_Linear(features, hidden), _ACTIVATIONS[activation]())
        self.head = _Linear(hidden, ways)

    def forward(self, features: Tensor, **others: Tensor) -> Tensor:
        """Return the logits."""
        if others:
            raise UsageError(
                f"SGC reads features alone, but the tasks give {', '.join(others)}, too: "
                "set tasks.form=propagated"
            )
        _same_width("SGC", features, self.width)
        return self.head(self.body(features))


class GCN(nn.Module):
    r"""Two graph convolutions and a linear head.

    .. math:: H = \sigma(S\, \sigma(S X W_1 + b_1)\, W_2 + b_2), \quad
        S = \tilde D^{-1/2} (A + I) \tilde D^{-1/2}

    Args:
        features: Features of a node.
        ways: Number of classes.
        hidden: Width of both layers.
        activation: Of both layers.

    Shape:
        features [n, q, F], weights [n, n * q], place [n, n] (``tasks.form=gcn``) -> [n, ways].
    Reference:
        Kipf, Welling, Semi-Supervised Classification with Graph Convolutional Networks,
        ICLR 2017, Eq. (9).
    Differs:
        The second convolution is hidden, too, and a linear head reads it.
    """

    def __init__(
        self, features: int, ways: int = 2, hidden: int = 64, *, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.width = features
        self.body = _Convolutions(features, hidden, activation)
        self.head = _Linear(hidden, ways)

    def forward(
        self, features: Tensor, weights: Tensor | None = None, place: Tensor | None = None
    ) -> Tensor:
        """Return the logits."""
        weights, place = _whole("GCN", "gcn", features, weights, place)
        _same_width("GCN", features, self.width)
        return self.head(self.body(features, weights, place))


class GraphSAGE(nn.Module):
    r"""Two layers that read a node beside the mean of its neighbours, and a linear head.

    .. math:: h_v' = \sigma(W [h_v, \mathrm{mean}_{u \in N(v)} h_u] + b)

    Args:
        features: Features of a node.
        ways: Number of classes.
        hidden: Width of both layers.
        activation: Of both layers.

    Shape:
        features [n, q, 2 F], weights [n, n * q], place [n, n] (``tasks.form=sage``) -> [n, ways].
    Reference:
        Hamilton, Ying, Leskovec, Inductive Representation Learning on Large Graphs, NeurIPS
        2017, Algorithm 1.
    Differs:
        All neighbours are averaged, none is sampled; outputs are not scaled to length 1.
    """

    def __init__(
        self, features: int, ways: int = 2, hidden: int = 64, *, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.width = 2 * features
        self.body = _Averages(self.width, hidden, activation)
        self.head = _Linear(hidden, ways)

    def forward(
        self, features: Tensor, weights: Tensor | None = None, place: Tensor | None = None
    ) -> Tensor:
        """Return the logits."""
        weights, place = _whole("GraphSAGE", "sage", features, weights, place)
        _same_width("GraphSAGE", features, self.width)
        return self.head(self.body(features, weights, place))


class _Convolutions(nn.Module):
    """Two graph convolutions, the first one's propagation done beforehand."""

    def __init__(self, inputs: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.first, self.second = _Linear(inputs, hidden), _Linear(hidden, hidden)
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, features: Tensor, weights: Tensor, place: Tensor) -> Tensor:
        """Return the features of the batch: ``[n, hidden]``."""
        table = self.activation(self.first(features))  # [n, q, hidden]
        return self.activation(self.second(weights @ in_order(table, place)))


class _Averages(nn.Module):
    """Two layers of GraphSAGE, the first one's mean taken beforehand."""

    def __init__(self, inputs: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.first, self.second = _Linear(inputs, hidden), _Linear(2 * hidden, hidden)
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, features: Tensor, weights: Tensor, place: Tensor) -> Tensor:
        """Return the features of the batch: ``[n, hidden]``."""
        table = self.activation(self.first(features))  # [n, q, hidden]
        neighbours = weights @ in_order(table, place)  # [n, hidden]
        return self.activation(self.second(torch.cat([table[:, 0], neighbours], 1)))


class _Linear(nn.Linear):
    """A linear layer with initial weights after Glorot and Bengio, as published for GCN."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


def in_order(table: Tensor, place: Tensor) -> Tensor:
    """Return the rows of the neighbourhood as they were shared out: ``[n * q, ...]``.

    Args:
        table: Shares of the examples, ``[n, q, ...]``, perhaps in another order.
        place: Rows of the identity, in the order of the examples, ``[n, n]``.
    """
    return table[place.argmax(0)].flatten(0, 1)


def _whole(
    model: str, form: str, features: Tensor, weights: Tensor | None, place: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the neighbourhood's tensors if all are there."""
    if weights is None or place is None or features.dim() != 3:
        raise UsageError(f"{model} needs a neighbourhood of its nodes: set tasks.form={form}")
    refuse_cut(place)
    return weights, place


def refuse_cut(place: Tensor) -> None:
    """Refuse a part of a batch, whose neighbourhood is not whole.

    Args:
        place: ``[n, n]``.

    Raises:
        UsageError: if rows are missing.
    """
    found, count = place.shape
    if found != count:
        raise UsageError(
            f"the nodes of a batch share one neighbourhood, but {found} of {count} came: set "
            "rule.batch=none, or use SGC with tasks.form=propagated"
        )


def _same_width(model: str, features: Tensor, width: int) -> None:
    if features.shape[-1] != width:
        raise UsageError(
            f"{model} was made for rows of {width} numbers, the tasks give {features.shape[-1]}: "
            "set model.features to the number of features and tasks.form as the model needs"
        )
