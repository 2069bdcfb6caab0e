"""Plain gradient descent, the inner rule of MAML and Reptile."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metaccord.rules.base import InnerRule
from metaccord.types import Stacked


@dataclass(frozen=True, kw_only=True)
class SGD(InnerRule):
    r"""Move against the gradient: :math:`\theta_{k+1} = \theta_k - \alpha g_k`.

    Args:
        steps, lr, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    Reference:
        Finn, Abbeel, Levine, Model-Agnostic Meta-Learning, ICML 2017, Eq. (1).
    Differs:
        Losses are mean-reduced. The official code divides by the shots only, so its step sizes
        are multiplied by the number of ways here.
    """

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return ``params - lr * grads``."""
        del learned, step
        moved = {k: torch.sub(v, grads[k], alpha=self.lr) for k, v in params.items()}
        return moved, carry
