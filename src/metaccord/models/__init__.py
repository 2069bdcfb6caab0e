"""Networks, each with a ``body`` and a ``head``."""

from metaccord.models.conv4 import Conv4
from metaccord.models.geometric import Geometric
from metaccord.models.graph import GCN, SGC, GraphSAGE
from metaccord.models.mlp import MLP

__all__ = ["GCN", "MLP", "SGC", "Conv4", "Geometric", "GraphSAGE"]
