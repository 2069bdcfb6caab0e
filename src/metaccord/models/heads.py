"""Second heads: networks that read the features of another."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from metaccord.errors import UsageError


def branch(shape: tuple[int, ...], outputs: int, hidden: int | None = None) -> nn.Module:
    """Return a network from features to outputs, as CML's co-learner.

    Args:
        shape: Of one example's features: ``(channels, height, width)`` gives two convolution
            blocks (3x3, batch statistics, ReLU; the second with 2x2 max-pooling) and a linear
            layer, ``(width,)`` a hidden layer with ReLU and a linear layer.
        outputs: Outputs of one example.
        hidden: Channels or width of the branch; None: those of the features.

    Raises:
        UsageError: for another number of axes, or a size below 1.
    """
    if len(shape) not in (1, 3) or min(*shape, outputs, hidden or 1) < 1:
        raise UsageError(
            f"a co-learner reads features (width,) or (channels, height, width) of at least 1 each "
            f"and gives at least 1 output: found shape {shape}, outputs {outputs}, hidden {hidden}"
        )
    width = hidden or shape[0]
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(shape[0], width), nn.ReLU(), nn.Linear(width, outputs))
    channels, height, broad = shape
    halve = 2 if min(height, broad) >= 2 else 1
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width, track_running_stats=False),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width, track_running_stats=False),
        nn.ReLU(),
        nn.MaxPool2d(halve),
        nn.Flatten(),
        nn.Linear(width * (height // halve) * (broad // halve), outputs),
    )


@lru_cache(maxsize=32)
def template(shape: tuple[int, ...], outputs: int, hidden: int | None = None) -> nn.Module:
    """Return the same network without weights, to be called with weights from elsewhere."""
    with torch.device("meta"):
        return branch(shape, outputs, hidden)
