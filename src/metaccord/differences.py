"""Finite differences that can be trusted: Ridders' extrapolation, and smooth twins of kinks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metaccord import tree
from metaccord.types import Params

LEVELS = 7
DEEPEST = 16
_SURE = 1e-10  # relative: no further halving is needed
_ENOUGH = 1e-7  # relative: worse than this is halved further, beyond the levels that were asked for
_FAIR = 1e-5  # relative: will do after ``_STALE`` halvings without a better estimate
_STALE = 3


def slope(
    f: Callable[[float], float], levels: int = LEVELS, start: float = 0.02, floor: float = 0.0
) -> float:
    """Return f'(0) by central differences at halved steps, extrapolated; f is smooth.

    The entry of the tableau with the smallest estimate of its own error wins; halving stops when
    that estimate is far below every bound. Where it is not, as where batch statistics of very few
    values bend the loss within the first steps, halving goes on beyond ``levels``.

    Args:
        f: A function of the distance.
        levels: Steps that are tried at most while all is well.
        start: The first step.
        floor: Slopes below this are rounding.

    Reference:
        Ridders, Accurate computation of F'(x) and F'(x)F''(x), Advances in Engineering
        Software, 1982.
    """
    best, error, step, since = math.nan, math.inf, start, 0
    before: list[float] = []
    for level in range(max(levels, DEEPEST)):
        row, since = [(f(step) - f(-step)) / (2 * step)], since + 1
        for k, older in enumerate(before):
            row.append(row[-1] + (row[-1] - older) / (4.0 ** (k + 1) - 1))
            found = max(abs(row[-1] - row[-2]), abs(row[-1] - older))
            if found < error:
                best, error, since = row[-1], found, 0
        bound = _SURE if level + 1 < levels else _ENOUGH if since < _STALE else _FAIR
        if error <= bound * max(abs(best), floor):
            break
        before, step = row, step / 2
    return best


def along(at: Params, direction: Params, distance: float) -> Params:
    """Return ``at + distance * direction``."""
    return {k: v + distance * direction[k] for k, v in at.items()}


def directions(at: Params, count: int, seed: int = 0) -> list[Params]:
    """Return random directions as long as ``at`` (at least 1), the same for the same seed."""
    device = next(iter(at.values())).device
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        raw = {
            k: torch.randn(v.shape, generator=generator, dtype=torch.float64).to(device, v.dtype)
            for k, v in at.items()
        }
        factor = max(length(at), 1.0) / length(raw)
        found.append({k: factor * v for k, v in raw.items()})
    return found


def dot(a: Params, b: Params) -> float:
    """Return the inner product of two sets of tensors, by the names of ``a``."""
    return float(sum((a[k] * b[k]).sum() for k in a))


def length(a: Params) -> float:
    """Return the Euclidean length of a set of tensors."""
    return math.sqrt(dot(a, a))


def relative(a: Params, b: Params) -> float:
    """Return ``||a - b|| / ||b||`` over all tensors; 0 if both vanish."""
    gap = length(tree.difference(b, a))
    return gap / length(b) if length(b) > 0 else (0.0 if gap == 0 else math.inf)


def doubled(model: nn.Module) -> nn.Module:
    """Return a copy of the model in float64."""
    stale = (v for part in model.modules() for v in vars(part).values() if isinstance(v, Tensor))
    memo = {id(leaf): leaf.detach().clone() for leaf in stale if not leaf.is_leaf}
    return copy.deepcopy(model, memo).double()


def widened(values: Any) -> Any:
    """Return a tree with its floating tensors in float64."""
    return tree.mapped(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, values)


class Wide(TorchFunctionMode):
    """Keep float64 where a model narrows to float32 by itself, as softmax in transformers does.

    Rounding within a copy in float64 would look like an error of its derivatives.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Put float64 in place of float32 for tensors in float64."""
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is Tensor.float:
                return args[0]
            args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
            if kwargs.get("dtype") is torch.float32:
                kwargs = {**kwargs, "dtype": torch.float64}
        return func(*args, **kwargs)


class Smooth(TorchFunctionMode):
    """Put smooth twins in place of rectifiers and maximum pooling.

    At a kink a loss has no derivative, and its inner gradient jumps, so differences across many
    units say nothing about a right gradient. The rest of the model stays as it is.

    Attributes:
        replaced: Names of the functions that were replaced.
        kinks: Names of functions with kinks that were not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced: set[str] = set()
        self.kinks: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace the functions of the table."""
        name = getattr(func, "__name__", "")
        twin = _TWINS.get(name.rstrip("_"))
        if twin is not None:
            self.replaced.add(name)
            return twin(*args, **(kwargs or {}))
        if name in _KINKS:
            self.kinks.add(name)
        return func(*args, **(kwargs or {}))


def _softplus(x: Tensor, *options: Any, **named: Any) -> Tensor:
    del options, named
    return F.softplus(x)


def _leaky(x: Tensor, slope: Any = 0.01, *options: Any, **named: Any) -> Tensor:
    del options
    slope = named.get("negative_slope", named.get("weight", slope))
    if isinstance(slope, Tensor) and slope.numel() > 1:
        slope = slope.view(1, -1, *[1] * (x.dim() - 2))
    return slope * x + (1 - slope) * F.softplus(x)


def _average(pool: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pooled(
        x: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        **named: Any,
    ) -> Tensor:
        del dilation, named
        return pool(x, kernel_size, stride or kernel_size, padding, ceil_mode)

    return pooled


def _adaptive(pool: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, output_size, *options, **named: pool(x, output_size)


_RECTIFIERS = ("relu", "relu6", "hardtanh", "elu", "selu", "celu", "hardswish", "hardsigmoid")
_TWINS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(_RECTIFIERS, _softplus),
    "leaky_relu": _leaky,
    "prelu": _leaky,
    "max_pool1d": _average(F.avg_pool1d),
    "max_pool2d": _average(F.avg_pool2d),
    "max_pool3d": _average(F.avg_pool3d),
    "adaptive_max_pool1d": _adaptive(F.adaptive_avg_pool1d),
    "adaptive_max_pool2d": _adaptive(F.adaptive_avg_pool2d),
}
_KINKS = frozenset(
    [
        "abs",
        "absolute",
        "clamp",
        "clip",
        "max",
        "min",
        "amax",
        "amin",
        "maximum",
        "minimum",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "where",
        "sort",
        "topk",
        "round",
        "sign",
        "hardshrink",
        "softshrink",
        "threshold",
        "norm",
        "cdist",
        "ceil",
        "floor",
    ]
)
