"""Batch statistics taken from one set of examples and applied to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class BatchStatistics:
    """Mean and biased variance of each batch normalisation, in the order of their calls.

    Attributes:
        means, variances: One entry ``[C]`` per call of ``torch.nn.functional.batch_norm``.
    """

    def __init__(self) -> None:
        self.means: list[Tensor] = []
        self.variances: list[Tensor] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Normalise by the batch, as in training, and keep its statistics."""
        with _Intercept(self._record):
            yield

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Normalise by the kept statistics."""
        kept = iter(zip(self.means, self.variances, strict=True))

        def replay(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
            mean, variance = next(kept)
            return _normalise(x, mean, variance, weight, bias, eps)

        with _Intercept(replay):
            yield

    def _record(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        axes = [0, *range(2, x.dim())]
        self.means.append(x.mean(axes))
        self.variances.append(x.var(axes, unbiased=False))
        return _normalise(x, self.means[-1], self.variances[-1], weight, bias, eps)


class _Intercept(TorchFunctionMode):
    def __init__(self, replacement: Callable[..., Tensor]) -> None:
        super().__init__()
        self.replacement = replacement

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace ``torch.nn.functional.batch_norm``."""
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return self._call(*args, **kwargs)

    def _call(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        return self.replacement(input, weight, bias, eps)


def _normalise(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    factor = torch.rsqrt(variance + eps) * (1.0 if weight is None else weight)
    shift = 0.0 if bias is None else bias.view(shape)
    return (x - mean.view(shape)) * factor.view(shape) + shift
