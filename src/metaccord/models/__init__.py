"""Networks, each with a ``body`` and a ``head``."""

from metaccord.models.conv4 import Conv4
from metaccord.models.mlp import MLP

__all__ = ["MLP", "Conv4"]
