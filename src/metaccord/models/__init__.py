"""Networks, each with a ``body`` and a ``head``; and small parts added to any network."""

from metaccord.models.bottleneck import adapters
from metaccord.models.conv4 import Conv4
from metaccord.models.geometric import Geometric
from metaccord.models.graph import GCN, SGC, GraphSAGE
from metaccord.models.logits import Logits
from metaccord.models.low_rank import lora, merged
from metaccord.models.mlp import MLP

__all__ = [
    "GCN",
    "MLP",
    "SGC",
    "Conv4",
    "Geometric",
    "GraphSAGE",
    "Logits",
    "adapters",
    "lora",
    "merged",
]
