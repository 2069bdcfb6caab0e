"""Adam as inner rule, with moments that may persist from meta-step to meta-step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.rules.base import InnerRule
from metaccord.types import Params, Stacked


@dataclass(frozen=True, kw_only=True)
class Adam(InnerRule):
    r"""Move by bias-corrected moments of the gradient.

    .. math:: v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2, \quad
              \theta_{t} = \theta_{t-1} - \alpha \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    Args:
        beta1: Decay of the first moment, in [0, 1). Reptile uses 0.
        beta2: Decay of the second moment, in (0, 1).
        eps: Added outside the root.
        persist: Start each task from the moments that the last meta-step left.
        steps, lr, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    State:
        running (if ``persist``): ``second.<name>``, ``first.<name>`` (if beta1 > 0), ``count`` [].

    Raises:
        UsageError: if a decay is outside its interval.
    Reference:
        Kingma, Ba, ICLR 2015; Nichol, Achiam, Schulman, On First-Order Meta-Learning Algorithms,
        2018. Official code: openai/supervised-reptile, 8f2b71c.
    Differs:
        The official Reptile code hands its slots from task to task in sequence. Here every task
        of a meta-step starts from the last slots, and afterwards the slots are their mean over
        tasks; with one task per meta-step both are the same. The root has gradient 0 at 0, so
        that a zero gradient does not become NaN at second order.
    """

    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    persist: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.beta1 < 1.0:
            raise UsageError(f"rule.beta1 is {self.beta1}: it must be in [0, 1)")
        if not 0.0 < self.beta2 < 1.0:
            raise UsageError(f"rule.beta2 is {self.beta2}: it must be in (0, 1)")
        if not self.eps > 0:
            raise UsageError(f"rule.eps is {self.eps}: it must be above 0")

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return no learned tensors; zero slots as running ones if they persist."""
        return {}, self._zeros(params, ()) if self.persist else {}

    def begin(self, params: Stacked, running: Params) -> Stacked:
        """Return the slots at step 0, one row per task."""
        count = tree.tasks_in(params)
        return tree.expand(running, count) if self.persist else self._zeros(params, (count,))

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return the moved parameters and the new slots."""
        del learned, step
        count = carry["count"] + 1  # [T]
        after, moved = {"count": count}, {}
        for name, value in params.items():
            grad, column = grads[name], count.view(-1, *[1] * (value.dim() - 1)).to(value.dtype)
            second = self.beta2 * carry[f"second.{name}"] + (1 - self.beta2) * grad * grad
            after[f"second.{name}"] = second
            mean = grad
            if self.beta1 > 0:
                first = self.beta1 * carry[f"first.{name}"] + (1 - self.beta1) * grad
                after[f"first.{name}"] = first
                mean = first / (1 - self.beta1**column)
            root = _safe_sqrt(second / (1 - self.beta2**column))
            moved[name] = value - self.lr * mean / (root + self.eps)
        return moved, after

    def observe(self, carry: Stacked, axis: TaskAxis) -> Params:
        """Return the mean of the slots over tasks, if they persist."""
        if not self.persist:
            return {}
        count = carry["count"]
        return {
            **tree.first(axis.mean({k: v for k, v in carry.items() if k != "count"})),
            "count": count[0],
        }

    def _zeros(self, params: Params, rows: tuple[int, ...]) -> Params:
        slots = ("second", "first") if self.beta1 > 0 else ("second",)
        zeros = {f"{slot}.{k}": torch.zeros_like(v) for k, v in params.items() for slot in slots}
        device = next(iter(params.values())).device
        return {**zeros, "count": torch.zeros(rows, dtype=torch.int64, device=device)}


def _safe_sqrt(x: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0 instead of infinite."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
