"""Graph networks as on paper: dense matrices of the whole graph, one loop per rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Arrays = Mapping[str, np.ndarray]
Scale = Callable[[Tensor], Tensor]


def adjacency(arrays: Arrays, known: np.ndarray | None = None) -> Tensor:
    """Return A, ``[N, N]``: 1 where an edge is stored in either direction, between known nodes."""
    nodes = len(arrays["labels"])
    dense = torch.zeros(nodes, nodes, dtype=torch.float64)
    for node in range(nodes):
        for entry in range(arrays["adj_indptr"][node], arrays["adj_indptr"][node + 1]):
            other = int(arrays["adj_indices"][entry])
            if other != node and (known is None or (known[node] and known[other])):
                dense[node, other] = dense[other, node] = 1.0
    return dense


def features(arrays: Arrays, *, sums: bool) -> Tensor:
    """Return X, ``[N, F]``, the absolute values of each row summing to 1 if ``sums``."""
    dense = torch.zeros(len(arrays["labels"]), int(arrays["feat_dim"]), dtype=torch.float64)
    for node in range(len(dense)):
        for entry in range(arrays["feat_indptr"][node], arrays["feat_indptr"][node + 1]):
            dense[node, int(arrays["feat_indices"][entry])] += float(arrays["feat_data"][entry])
        if sums and dense[node].abs().sum() > 0:
            dense[node] /= dense[node].abs().sum()
    return dense


def symmetric(a: Tensor) -> Tensor:
    """Return D~^-1/2 (A + I) D~^-1/2."""
    with_loops = a + torch.eye(len(a), dtype=a.dtype)
    root = torch.diag(with_loops.sum(1) ** -0.5)
    return root @ with_loops @ root


def mean(a: Tensor) -> Tensor:
    """Return the mean over neighbours; a row of 0 for a node that has none."""
    rows = [row / row.sum() if row.sum() > 0 else row for row in a]
    return torch.stack(rows)


def unit(rows: Tensor) -> Tensor:
    """Return rows of length 1; rows of 0 stay."""
    return torch.stack([row / row.norm() if row.norm() > 0 else row for row in rows])


def sgc(s: Tensor, x: Tensor, p: Mapping[str, Tensor], scale: Scale) -> Tensor:
    """Return the logits of all nodes, after two propagations, ``[N, ways]``."""
    hidden = scale(s @ s @ x) @ p["body.0.weight"].T + p["body.0.bias"]
    return hidden @ p["head.weight"].T + p["head.bias"]


def gcn(s: Tensor, x: Tensor, p: Mapping[str, Tensor], scale: Scale) -> Tensor:
    """Return the logits of all nodes, ``[N, ways]``."""
    hidden = torch.tanh(scale(s @ x) @ p["body.first.weight"].T + p["body.first.bias"])
    hidden = torch.tanh(s @ hidden @ p["body.second.weight"].T + p["body.second.bias"])
    return hidden @ p["head.weight"].T + p["head.bias"]


def sage(m: Tensor, x: Tensor, p: Mapping[str, Tensor], scale: Scale) -> Tensor:
    """Return the logits of all nodes, ``[N, ways]``."""
    both = torch.cat([scale(x), scale(m @ x)], 1)
    hidden = torch.tanh(both @ p["body.first.weight"].T + p["body.first.bias"])
    both = torch.cat([hidden, m @ hidden], 1)
    hidden = torch.tanh(both @ p["body.second.weight"].T + p["body.second.bias"])
    return hidden @ p["head.weight"].T + p["head.bias"]
