"""Networks of torch-geometric as bodies."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from metaccord.errors import UsageError, unknown
from metaccord.models.graph import in_order, refuse_cut

_NETWORKS = ("GCN", "GraphSAGE", "GAT", "GIN")


class Geometric(nn.Module):
    """A network of torch-geometric and a linear head; runs one task at a time (chunk 1).

    Args:
        features: Features of a node.
        ways: Number of classes.
        hidden: Width of the body's output.
        layers: Layers of a network given by name.
        body: ``"GCN"``, ``"GraphSAGE"``, ``"GAT"`` or ``"GIN"`` of ``torch_geometric.nn.models``,
            or any module that maps ``(x [m, F], edge_index [2, edges])`` to ``[m, hidden]``.

    Shape:
        features [n, q, F], edges [n, e, 2], place [n, n] (``tasks.form=subgraph``) -> [n, ways].

    Raises:
        UsageError: for an unknown name, or without torch-geometric.

    Reference:
        Fey, Lenssen, Fast Graph Representation Learning with PyTorch Geometric, 2019.
    Differs:
        Nodes at the rim of the neighbourhood have fewer edges than in the graph: let
        ``tasks.hops`` be the number of layers, and one more for layers that look at degrees
        (GCNConv). Then the outputs are those on the whole graph.
    """

    def __init__(
        self,
        features: int,
        ways: int = 2,
        hidden: int = 64,
        layers: int = 2,
        *,
        body: str | nn.Module = "GAT",
    ) -> None:
        super().__init__()
        network = _network(body, features, hidden, layers) if isinstance(body, str) else body
        self.body = _Drawn(network)
        self.head = nn.Linear(hidden, ways)

    def forward(
        self, features: Tensor, edges: Tensor | None = None, place: Tensor | None = None
    ) -> Tensor:
        """Return the logits."""
        if edges is None or place is None or features.dim() != 3:
            raise UsageError(
                "Geometric needs the nodes around and their edges: set tasks.form=subgraph"
            )
        return self.head(self.body(features, edges, place))


class _Drawn(nn.Module):
    """A network on a subgraph, of whose nodes the drawn ones are returned."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, edges: Tensor, place: Tensor) -> Tensor:
        """Return the features of the drawn nodes: ``[n, hidden]``."""
        count, share = features.shape[:2]
        refuse_cut(place)
        try:
            pairs = edges.flatten(0, 1)
            pairs = pairs[pairs[:, 0] >= 0]
        except RuntimeError as error:  # of vmap, which cannot look at values
            raise UsageError(
                "a network of torch-geometric takes one task at a time: set plan.chunk=1"
            ) from error
        known = torch.zeros(count * share, dtype=torch.bool, device=edges.device)
        known[pairs.flatten()] = True
        own = place.argmax(1) * share
        known[own] = True  # without edges, too
        number = known.cumsum(0) - 1
        table = in_order(features, place)[known]
        outputs = self.network(table, number[pairs].T.contiguous())
        if outputs.dim() != 2 or len(outputs) != len(table):
            raise UsageError(
                f"the body returned {tuple(outputs.shape)} for {len(table)} nodes: it must return "
                "one row per node"
            )
        return outputs[number[own]]


def _network(name: str, features: int, hidden: int, layers: int) -> Any:
    """Return a network of torch-geometric by name."""
    if name not in _NETWORKS:
        raise unknown("model.body", name, _NETWORKS)
    try:
        models = import_module("torch_geometric.nn.models")
    except ImportError as error:
        raise UsageError(
            f"model.body={name} needs torch-geometric: pip install 'metaccord[graph]'"
        ) from error
    return getattr(models, name)(features, hidden, layers)
