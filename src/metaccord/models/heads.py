"""Second heads as plain functions of weights: they read the features of another network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaccord.errors import UsageError
from metaccord.types import Params


def second_head(shape: tuple[int, ...], outputs: int, hidden: int | None = None) -> Params:
    """Return weights of a network from features to outputs, drawn as PyTorch draws them.

    Args:
        shape: Of one example's features: ``(channels, height, width)`` gives two convolution
            blocks (3x3, batch statistics, ReLU; the second with 2x2 max-pooling) and a linear
            layer, ``(width,)`` a hidden layer with ReLU and a linear layer.
        outputs: Outputs of one example.
        hidden: Channels or width of the network; None: those of the features.

    Raises:
        UsageError: for another number of axes, or a size below 1.
    """
    if len(shape) not in (1, 3) or min(*shape, outputs, hidden or 1) < 1:
        raise UsageError(
            f"a co-learner reads features (width,) or (channels, height, width) of at least 1 each "
            f"and gives at least 1 output: found shape {shape}, outputs {outputs}, hidden {hidden}"
        )
    width = hidden or shape[0]
    parts: dict[str, nn.Module]
    if len(shape) == 1:
        parts = {"first": nn.Linear(shape[0], width), "last": nn.Linear(width, outputs)}
    else:
        channels, height, broad = shape
        halve = _halve(height, broad)
        parts = {
            "first": nn.Conv2d(channels, width, 3, padding=1),
            "first_norm": nn.BatchNorm2d(width),
            "second": nn.Conv2d(width, width, 3, padding=1),
            "second_norm": nn.BatchNorm2d(width),
            "last": nn.Linear(width * (height // halve) * (broad // halve), outputs),
        }
    return {f"{k}.{n}": v.detach() for k, m in parts.items() for n, v in m.named_parameters()}


def read(weights: Params, features: Tensor) -> Tensor:
    """Return the outputs ``[n, outputs]`` of a second head for features ``[n, ...]``."""
    if weights["first.weight"].dim() == 2:
        hidden = F.relu(F.linear(features, weights["first.weight"], weights["first.bias"]))
        return F.linear(hidden, weights["last.weight"], weights["last.bias"])
    hidden = features
    for name in ("first", "second"):
        hidden = F.conv2d(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        scale, shift = weights[f"{name}_norm.weight"], weights[f"{name}_norm.bias"]
        hidden = F.relu(F.batch_norm(hidden, None, None, scale, shift, training=True))
    hidden = F.max_pool2d(hidden, _halve(*hidden.shape[-2:]))
    return F.linear(torch.flatten(hidden, 1), weights["last.weight"], weights["last.bias"])


def _halve(height: int, width: int) -> int:
    return 2 if min(height, width) >= 2 else 1
