"""Warp layers: linear layers between those of a network, which the inner loop leaves alone."""

from __future__ import annotations

from torch import nn


class WarpLinear(nn.Linear):
    """A linear layer that starts as the identity: ``[n, width] -> [n, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def reset_parameters(self) -> None:
        """Make it the identity."""
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)


class WarpConv(nn.Conv2d):
    """A 3x3 convolution that starts as the identity: ``[n, channels, h, w]`` to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def reset_parameters(self) -> None:
        """Make it the identity."""
        nn.init.dirac_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
