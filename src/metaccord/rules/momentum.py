"""Heavy-ball momentum as inner rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metaccord.errors import UsageError
from metaccord.rules.base import InnerRule
from metaccord.tree import scope, under
from metaccord.types import Params, Stacked


@dataclass(frozen=True, kw_only=True)
class Momentum(InnerRule):
    r"""Move by a decaying sum of gradients.

    .. math:: v_{k+1} = \nu v_k + g_k, \quad \theta_{k+1} = \theta_k - \alpha v_{k+1},
              \quad v_0 = 0

    Args:
        momentum: :math:`\nu`, in [0, 1); 0 is :class:`metaccord.rules.SGD`.
        steps, lr, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    Raises:
        UsageError: if the momentum is outside its interval.
    Reference:
        Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.momentum < 1.0:
            raise UsageError(f"rule.momentum is {self.momentum}: it must be in [0, 1)")

    def begin(self, params: Stacked, running: Params) -> Stacked:
        """Return a velocity of zero."""
        del running
        return under({k: torch.zeros_like(v) for k, v in params.items()}, "velocity")

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return the moved parameters and the new velocity."""
        del learned, step
        velocity = {k: self.momentum * v + grads[k] for k, v in scope(carry, "velocity").items()}
        moved = {k: torch.sub(v, velocity[k], alpha=self.lr) for k, v in params.items()}
        return moved, under(velocity, "velocity")
