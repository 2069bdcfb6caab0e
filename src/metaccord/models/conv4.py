"""The four-block convolutional network of the few-shot literature."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metaccord.models.warp import WarpConv


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch normalisation and ReLU, then a linear head.

    Args:
        ways: Number of classes.
        channels: Channels of the pictures.
        hidden: Filters of each convolution.
        size: Height and width of the pictures.
        downsample: ``"stride"``: stride 2 (Omniglot in MAML and Reptile); ``"pool"``: stride 1
            and 2x2 max-pooling after the ReLU (miniImageNet).
        spatial: ``"mean"`` over the remaining places (Omniglot in MAML) or ``"flatten"``.
        tracked: Keep running statistics in BatchNorm, as ordinary networks do.
        warp: A linear 3x3 warp convolution after each block, for
            :func:`metaccord.methods.warp`.

    Attributes:
        features, feature_shape: Where a co-learner reads, and what it finds there: the fourth
            block after its ReLU, before pooling; with warp layers the last of these.

    Shape:
        [n, channels, size, size] -> [n, ways].
    Reference:
        Finn, Abbeel, Levine, ICML 2017, Section 5.2; Vinyals et al., NeurIPS 2016.
    Differs:
        BatchNorm has a scale as well as a shift; initial weights are PyTorch's.
    """

    def __init__(
        self,
        ways: int = 5,
        channels: int = 1,
        hidden: int = 64,
        size: int = 28,
        *,
        downsample: Literal["stride", "pool"] = "stride",
        spatial: Literal["mean", "flatten"] = "mean",
        tracked: bool = False,
        warp: bool = False,
    ) -> None:
        super().__init__()
        blocks = [
            _block(channels if i == 0 else hidden, hidden, downsample, tracked, last=i == 3)
            for i in range(4)
        ]
        self.body = nn.Sequential(*blocks)
        self.spatial = spatial
        sides = [size]
        for _ in range(4):
            sides.append((sides[-1] + 1) // 2 if downsample == "stride" else sides[-1] // 2)
        side = sides[-1]
        before = side if downsample == "stride" else sides[-2]
        self.warp = nn.ModuleList(WarpConv(hidden) for _ in range(4)) if warp else None
        self.features = "warp.3" if warp else "body.3.2"
        self.feature_shape = (hidden, side, side) if warp else (hidden, before, before)
        features = hidden if spatial == "mean" else hidden * side * side
        self.head = nn.Linear(features, ways)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        if self.warp is None:
            features = self.body(x)
        else:
            features = x
            for block, layer in zip(self.body, self.warp, strict=True):
                features = layer(block(features))
        pooled = features.mean((2, 3)) if self.spatial == "mean" else torch.flatten(features, 1)
        return self.head(pooled)


def _block(
    inputs: int, outputs: int, downsample: str, tracked: bool, *, last: bool
) -> nn.Sequential:
    strided = downsample == "stride"
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2 if strided else 1, padding=1)
    norm = nn.BatchNorm2d(outputs, track_running_stats=tracked)
    if strided:
        return nn.Sequential(convolution, norm, nn.ReLU())
    if last:
        return nn.Sequential(convolution, norm, nn.ReLU(), nn.MaxPool2d(2))
    # Pooling first gives the same numbers (ReLU is monotone) from a quarter of the ReLUs.
    return nn.Sequential(convolution, norm, nn.MaxPool2d(2), nn.ReLU())
