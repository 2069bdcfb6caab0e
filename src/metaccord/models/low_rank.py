"""Low-rank updates of the layers of any model."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from metaccord import keys
from metaccord.errors import UsageError
from metaccord.models.additions import (
    Selectors,
    frozen_copy,
    is_conv1d,
    is_read,
    like,
    unhook,
)


def lora(
    model: nn.Module,
    rank: int = 4,
    *,
    alpha: float | None = None,
    targets: Selectors | None = None,
    learn: Selectors = (),
    seed: int = 0,
) -> nn.Module:
    r"""Return a copy of a model whose layers get trainable low-rank updates.

    .. math:: h = W x + \frac{\alpha}{r} B A x

    The weights W become constants, so only A and B, and what ``learn`` names, are meta-learned,
    have a row per task, and are stored in checkpoints, beside the hash of the rest. B starts at
    0: the copy computes what the model computes. Which of these tensors move in the inner loop is
    another choice, made by the rule: ``only=("lora",)`` moves the updates, ``only=("head",)`` the
    head; by itself it moves all of them.

    Args:
        model: Any module; it is left as it is.
        rank: Rank r of the updates.
        alpha: Their scale is alpha / rank; None: rank, so that the scale is 1.
        targets: Selectors of layers or of parts that contain them (see
            :func:`metaccord.names.selects`), for example ``("*.query", "*.value")``; None: every
            linear layer, GPT-2's ``Conv1D``, convolution in two dimensions, and
            ``nn.MultiheadAttention``. An ``nn.Embedding`` is taken if it is named.
        learn: Selectors of parameters that are learned whole, for example ``("head",)``.
        seed: Of the starting values of A.

    Raises:
        UsageError: for a rank below 1 or a scale that is not finite and positive, for a selector
            that finds nothing, or a layer that cannot be extended.

    Reference:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, Section 4.1.
    Differs:
        A starts as a linear layer of PyTorch does, as in the official code; there is no dropout.
        Attention with packed projections gets an update of each of its three parts.

    Example:
        >>> import metaccord as mc
        >>> model = lora(mc.models.MLP(1, (40, 40)), rank=2, learn=("head",))
        >>> [name for name, leaf in model.named_parameters() if leaf.requires_grad][:3]
        ['body.0.lora.a.weight', 'body.0.lora.b.weight', 'body.2.lora.a.weight']
    """
    scale = (rank if alpha is None else alpha) / max(rank, 1)
    if rank < 1 or not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"rank={rank} and alpha={alpha}: rank must be 1 or more, alpha above 0")
    kinds = _EXTENDED if targets is None else (*_EXTENDED, nn.Embedding)
    twin, layers = frozen_copy(
        model, lambda part: isinstance(part, kinds) or is_conv1d(part), targets, learn
    )
    with keys.seeded(seed):
        for name, layer in layers.items():
            _extend(name, layer, rank, scale)
    return twin


_EXTENDED = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def merged(model: nn.Module) -> nn.Module:
    """Return a plain copy of a model, with its low-rank updates added to the weights.

    Args:
        model: What :func:`lora` made, perhaps adapted (:meth:`metaccord.Learner.adapt`).

    Raises:
        UsageError: if it has no low-rank updates.
    """
    twin = copy.deepcopy(model)
    found = False
    for part in list(twin.modules()):
        update: Any = getattr(part, "lora", None)
        if isinstance(update, LowRank):
            found = True
            owner: Any = part
            with torch.no_grad():  # a new tensor, lest a tied weight elsewhere changes, too
                owner.weight = nn.Parameter(owner.weight + update.of(part))
            unhook(part, _add)
            del part.lora
        if parametrize.is_parametrized(part) and _merge_tensors(part):
            found = True
    if not found:
        raise UsageError("the model has no low-rank updates to merge: it is plain already")
    return twin


class LowRank(nn.Module):
    """The update of one layer: two layers without bias, the first as the layer itself is called.

    Attributes:
        scale: Constant ``[]``; a parameter, so that the hash of what is constant covers it.
    """

    group = "lora"

    def __init__(self, first: nn.Module, second: nn.Module, scale: float, **place: Any) -> None:
        super().__init__()
        self.a, self.b = first, second
        self.scale = nn.Parameter(torch.tensor(scale, **place), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw A anew and let B be 0."""
        first: Any = self.a
        first.reset_parameters()
        second: Any = self.b
        nn.init.zeros_(second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the layer's output."""
        return self.scale * self.b(self.a(x))

    def of(self, layer: nn.Module) -> Tensor:
        """Return what this adds to the layer's weight, in its shape."""
        a: Any = self.a
        b: Any = self.b
        update = self.scale * (b.weight.flatten(1) @ _matrix(a))
        weight: Any = layer.weight
        if is_conv1d(layer) or isinstance(layer, nn.Embedding):
            update = update.T
        return update.reshape(weight.shape)


class LowRankOfTensor(nn.Module):
    """The update of a weight whose owner reads it: ``[pieces * outputs, inputs]`` to the same."""

    group = "lora"

    def __init__(self, weight: Tensor, rank: int, scale: float, pieces: int = 1) -> None:
        super().__init__()
        rows, columns = weight.shape
        place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        self.a = nn.Parameter(torch.empty(pieces, rank, columns, **place))
        self.b = nn.Parameter(torch.empty(pieces, rows // pieces, rank, **place))
        self.scale = nn.Parameter(torch.tensor(scale, **place), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw A anew and let B be 0."""
        for piece in self.a.unbind():
            nn.init.kaiming_uniform_(piece, a=math.sqrt(5))
        nn.init.zeros_(self.b)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + self.scale * (self.b @ self.a).reshape(weight.shape)


def _extend(name: str, layer: Any, rank: int, scale: float) -> None:
    """Give one layer its update."""
    place = like(layer)
    if isinstance(layer, nn.MultiheadAttention) or is_read(layer):
        _extend_tensors(layer, rank, scale)
        return
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            raise UsageError(
                f"{name} is a convolution in {layer.groups} groups, which has no low-rank update "
                "here: leave it out of targets"
            )
        first: nn.Module = nn.Conv2d(
            layer.in_channels,
            rank,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=False,
            padding_mode=layer.padding_mode,
            **place,
        )
        second: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False, **place)
    else:
        inputs, outputs = layer.weight.shape
        if isinstance(layer, nn.Embedding):
            first = nn.Embedding(inputs, rank, layer.padding_idx, **place)
        else:
            inputs, outputs = (inputs, outputs) if is_conv1d(layer) else (outputs, inputs)
            first = nn.Linear(inputs, rank, bias=False, **place)
        second = nn.Linear(rank, outputs, bias=False, **place)
    layer.lora = LowRank(first, second, scale, **place)
    layer.register_forward_hook(_add, with_kwargs=True)


def _extend_tensors(layer: Any, rank: int, scale: float) -> None:
    """Give the weights of an attention module, which no layer computes with, their updates."""
    for name in ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        weight = getattr(layer, name, None)
        if weight is not None:
            update = LowRankOfTensor(weight, rank, scale, 3 if name == "in_proj_weight" else 1)
            parametrize.register_parametrization(layer, name, update)


def _merge_tensors(part: Any) -> bool:
    """Add the updates of an attention module to its weights; say whether there are any."""
    names = [
        name
        for name, chain in part.parametrizations.items()
        if any(isinstance(each, LowRankOfTensor) for each in chain)
    ]
    if names:  # torch removes the property from the class, which copies share: give it its own
        kind = type(part)
        own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        part.__class__ = type(kind.__name__, kind.__bases__, own)
    for name in names:
        parametrize.remove_parametrizations(part, name)
    return bool(names)


def _add(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
    return output + layer.lora(*args, *kwargs.values())


def _matrix(layer: Any) -> Tensor:
    """Return A as a matrix ``[rank, ...]``."""
    return layer.weight.T if isinstance(layer, nn.Embedding) else layer.weight.flatten(1)
