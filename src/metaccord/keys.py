"""Random numbers as pure functions of a key, inside the graph; and foreign ones, seeded.

A key is an int64 tensor that comes with the episode. The same key gives the same draw in a loop,
under ``vmap``, compiled and on any device: no global generator has a part in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metaccord.errors import UsageError

_MULTIPLIERS = (-4658895280553007687, -7723592293110705685)  # splitmix64's, as signed integers
_STEP = -7046029254386353131
_SEEDING = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for code that draws from them, and put them back afterwards.

    Those of the CPU and of all GPUs in use; one thread at a time, since they belong to the process.

    Args:
        seed: Of all draws inside.
    """
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count() if used else 0)
    with _SEEDING, torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)
        for index in gpus:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right without copying the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(key: Tensor, number: int | Tensor) -> Tensor:
    """Return the int64 hash of ``key`` and ``number``, elementwise (splitmix64's finaliser).

    The two meet by exclusive or: a large multiple of ``arange`` would be folded into an index
    expression by Inductor, which overflows there (torch 2.13: wrong values, memory corruption).
    """
    x = (key ^ torch.as_tensor(number, device=key.device)) + _STEP
    x = (x ^ _shift(x, 30)) * _MULTIPLIERS[0]
    x = (x ^ _shift(x, 27)) * _MULTIPLIERS[1]
    return x ^ _shift(x, 31)


def uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return float64 numbers in [0, 1) of the given shape, from one scalar key."""
    count = torch.Size(shape).numel()
    words = mix(key, torch.arange(count, device=key.device))
    return (_shift(words, 11).double() * 2.0**-53).reshape(shape)


def permutation(keys: Tensor, count: int) -> Tensor:
    """Return one permutation of ``range(count)`` per key: ``[T] -> [T, count]``."""
    words = mix(keys[:, None], torch.arange(count, device=keys.device))
    return words.argsort(dim=1, stable=True)


_WHOLE = {F.dropout: 0, F.alpha_dropout: 0}
_CHANNELS = {F.dropout1d: 1, F.dropout2d: 2, F.dropout3d: 3}


class KeyedDropout(TorchFunctionMode):
    """Draw dropout masks from a key; without a key dropout is the identity.

    Args:
        key: Scalar int64 tensor of one task and inner step, or None.
    """

    def __init__(self, key: Tensor | None) -> None:
        super().__init__()
        self.key, self.calls = key, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace the dropout functions of ``torch.nn.functional``."""
        if func is F.scaled_dot_product_attention:
            _refuse_fused(*args, **(kwargs or {}))
        if func not in _WHOLE and func not in _CHANNELS:
            return func(*args, **(kwargs or {}))
        return self._drop(func, *args, **(kwargs or {}))

    def _drop(
        self,
        func: Callable[..., Any],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        del inplace  # the result is a new tensor: an in-place write would break double backward
        if self.key is None or not training or p == 0.0:
            return input
        self.calls += 1
        spatial = _CHANNELS.get(func, 0)
        shape = input.shape[: input.dim() - spatial] + (1,) * spatial
        keep = uniform(mix(self.key, self.calls), tuple(shape)) >= p
        if func is F.alpha_dropout:
            return _alpha(input, keep, p)
        return input * (keep.to(input.dtype) / (1.0 - p) if p < 1.0 else keep.to(input.dtype))


def _alpha(x: Tensor, keep: Tensor, p: float) -> Tensor:
    """Alpha dropout (Klambauer et al. 2017): dropped units saturate, mean and variance stay."""
    saturation = -1.7580993408473766
    a = ((1.0 - p) * (1.0 + p * saturation**2)) ** -0.5
    return a * torch.where(keep, x, saturation) - a * saturation * p


def _refuse_fused(*args: Any, **kwargs: Any) -> None:
    rate = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
    if rate:
        raise UsageError(
            f"scaled_dot_product_attention has dropout_p={rate}, whose masks cannot come from the "
            "task's key: call it with dropout_p=0 and put nn.Dropout after it"
        )


def refuse_hidden_dropout(model: nn.Module) -> None:
    """Refuse dropout inside fused modules, whose masks cannot come from a task's key.

    Raises:
        UsageError: naming the module and the remedy.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0:
            raise UsageError(
                f"{name or 'model'} ({type(module).__name__}) has dropout={module.dropout} inside, "
                "whose masks cannot come from the task's key: set it to 0 and use nn.Dropout "
                "between layers"
            )


def draws(model: nn.Module) -> bool:
    """Say whether the model, or a method of its classes, mentions dropout."""
    return any(
        "dropout" in type(module).__name__.lower() or _mentions(type(module))
        for module in model.modules()
    )


def _mentions(cls: type) -> bool:
    codes = (getattr(value, "__code__", None) for value in vars(cls).values())
    return not cls.__module__.startswith("torch.") and any(
        "dropout" in name or name == "scaled_dot_product_attention"
        for code in codes
        if isinstance(code, CodeType)
        for name in code.co_names
    )
