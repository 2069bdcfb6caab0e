"""Multi-layer perceptron: a body of hidden layers and a linear head."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from metaccord.models.warp import WarpLinear

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        inputs: Features of one example; its axes, if there are several, are laid end to end.
        hidden: Widths of the hidden layers.
        outputs: Outputs of one example.
        activation: ``"relu"`` as in MAML, ``"tanh"`` as in Reptile's script, or ``"gelu"``.
        init: ``"torch"``: PyTorch's default; ``"maml"``: weights from a normal distribution of
            standard deviation 0.01 truncated at two deviations, biases 0.
        warp: A linear warp layer after each hidden layer, for :func:`metaccord.methods.warp`.

    Shape:
        [n, inputs], or [n, ...] of as many numbers -> [n, outputs].
    """

    def __init__(
        self,
        inputs: int = 1,
        hidden: tuple[int, ...] = (40, 40),
        outputs: int = 1,
        *,
        activation: Literal["relu", "tanh", "gelu"] = "relu",
        init: Literal["torch", "maml"] = "torch",
        warp: bool = False,
    ) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [_Linear(before, after, init), _ACTIVATIONS[activation]()]
        self.body = nn.Sequential(*layers)
        self.head = _Linear(widths[-1], outputs, init)
        self.feature_shape = (widths[-1],)
        self.warp = nn.ModuleList(WarpLinear(width) for width in widths[1:]) if warp else None
        self.features = f"warp.{len(hidden) - 1}" if warp and hidden else "body"

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        x = x.flatten(1) if x.dim() > 2 else x
        if self.warp is None:
            return self.head(self.body(x))
        for i, layer in enumerate(self.warp):
            x = layer(self.body[2 * i : 2 * i + 2](x))
        return self.head(x)


class _Linear(nn.Linear):
    def __init__(self, inputs: int, outputs: int, init: Literal["torch", "maml"]) -> None:
        self.init = init
        super().__init__(inputs, outputs)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.init == "maml":
            nn.init.trunc_normal_(self.weight, std=0.01, a=-0.02, b=0.02)
            nn.init.zeros_(self.bias)
