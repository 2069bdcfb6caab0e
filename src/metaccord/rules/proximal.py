"""The inner problem of iMAML: stay near the initialisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from metaccord.errors import UsageError, unknown
from metaccord.rules.base import InnerRule
from metaccord.tree import scope, under
from metaccord.types import Params, Stacked


@dataclass(frozen=True, kw_only=True)
class Proximal(InnerRule):
    r"""Descend :math:`L_S(t) + \frac{\lambda}{2} \|t - \theta\|^2` from :math:`t = \theta`.

    .. math:: t_{k+1} = t_k - \alpha (g_k + \lambda (t_k - \theta))

    Args:
        strength: :math:`\lambda`; the estimator :class:`metaccord.estimators.Implicit` reads it.
        pull: ``"every"``: the pull acts in every step; ``"end"``: plain steps, and in the last
            one the pull alone, after its gradient step, as the official code does.
        steps, lr, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    Raises:
        UsageError: if the strength is not finite and above 0.
    Reference:
        Rajeswaran, Finn, Kakade, Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019,
        arXiv 1909.04630, Eq. (3). Official code: aravindr93/imaml_dev, 6a2a669.
    """

    strength: float = 2.0
    pull: Literal["every", "end"] = "every"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.strength) and self.strength > 0):
            raise UsageError(f"rule.strength is {self.strength}: it must be finite and above 0")
        if self.pull not in (choices := ("every", "end")):
            raise unknown("rule.pull", self.pull, choices)

    def begin(self, params: Stacked, running: Params) -> Stacked:
        """Return where the steps start, which is what they are pulled to."""
        del running
        return under(params, "start")

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return the moved parameters."""
        del learned
        rate, start = self.lr * self.strength, scope(carry, "start")
        if self.pull == "every":
            moved = {k: v - self.lr * grads[k] - rate * (v - start[k]) for k, v in params.items()}
            return moved, carry
        moved = {k: v - self.lr * grads[k] for k, v in params.items()}
        if step == self.steps - 1:
            moved = {k: v - rate * (v - start[k]) for k, v in moved.items()}
        return moved, carry
