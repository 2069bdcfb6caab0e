"""Bottleneck adapters behind the layers of any model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from metaccord import keys
from metaccord.errors import UsageError
from metaccord.models.additions import Selectors, frozen_copy, is_conv1d, is_read, like


def adapters(
    model: nn.Module,
    targets: Selectors,
    width: int = 8,
    *,
    learn: Selectors = (),
    seed: int = 0,
) -> nn.Module:
    r"""Return a copy of a model with a small trainable network behind some of its layers.

    .. math:: h' = h + U \, \mathrm{gelu}(D h + d) + u

    The model's own weights become constants. U and u start at 0: the copy computes what the model
    computes. The inner rule chooses what moves: ``only=("adapters",)``.

    Args:
        model: Any module; it is left as it is.
        targets: Selectors of layers (see :func:`metaccord.names.selects`): linear layers, GPT-2's
            ``Conv1D``, convolutions in two dimensions (the adapter works at each place) or
            ``nn.LayerNorm``.
        width: Width of the bottleneck.
        learn: Selectors of parameters that are learned whole, for example ``("head",)``.
        seed: Of the starting values of D.

    Raises:
        UsageError: for a width below 1, for a selector that finds nothing, or a layer that cannot
            be extended.

    Reference:
        Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, Section 2.1.
    Differs:
        U starts at 0, not near it; layer norms are learned only if ``learn`` names them.

    Example:
        >>> import metaccord as mc
        >>> model = adapters(mc.models.MLP(1, (40, 40)), ("body.2",), width=4)
        >>> sum(leaf.numel() for leaf in model.parameters() if leaf.requires_grad)
        364
    """
    if width < 1:
        raise UsageError(f"width={width}: an adapter needs a width of 1 or more")
    twin, layers = frozen_copy(model, _suits, tuple(targets), learn)
    with keys.seeded(seed):
        for layer in layers.values():
            part: Any = layer
            part.adapter = Adapter(layer, width)
            part.register_forward_hook(_follow)
    return twin


class Adapter(nn.Module):
    """A bottleneck that reads a layer's output and gives what is added to it."""

    group = "adapters"

    def __init__(self, layer: Any, width: int) -> None:
        super().__init__()
        place = like(layer)
        if isinstance(layer, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(layer.out_channels, width, 1, **place)
            self.up: nn.Module = nn.Conv2d(width, layer.out_channels, 1, **place)
        else:
            outputs = layer.weight.shape[-1 if _is_last(layer) else 0]
            self.down = nn.Linear(outputs, width, **place)
            self.up = nn.Linear(width, outputs, **place)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first layer anew and let the second be 0."""
        first: Any = self.down
        first.reset_parameters()
        for leaf in self.up.parameters():
            nn.init.zeros_(leaf)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added."""
        return self.up(F.gelu(self.down(x)))


def _is_last(layer: nn.Module) -> bool:
    return is_conv1d(layer) or isinstance(layer, nn.LayerNorm)


def _suits(part: nn.Module) -> bool:
    if isinstance(part, nn.LayerNorm):
        return part.elementwise_affine
    return (isinstance(part, nn.Linear | nn.Conv2d) and not is_read(part)) or is_conv1d(part)


def _follow(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    del inputs
    return output + layer.adapter(output)
