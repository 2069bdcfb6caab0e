"""Inner rules with learned step sizes: Meta-SGD and one rate per tensor and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaccord.errors import UsageError
from metaccord.rules.base import InnerRule
from metaccord.tree import under
from metaccord.types import Params, Stacked


@dataclass(frozen=True, kw_only=True)
class MetaSGD(InnerRule):
    r"""Move by elementwise learned rates: :math:`\theta_{k+1} = \theta_k - a \circ g_k`.

    Args:
        lr: What every rate starts from; rates are free in sign and shared by all steps.
        steps, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    State:
        learned: ``rate.<name>``, as large as the tensor that it moves.
    Reference:
        Li, Zhou, Chen, Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017,
        arXiv 1707.09835.
    Differs:
        The paper takes one inner step; several share the same rates here. Its starting rate is
        one value for all coordinates, as ours.
    """

    learns: ClassVar[bool] = True

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return one rate per number that moves."""
        return under({k: torch.full_like(v, self.lr) for k, v in params.items()}, "rate"), {}

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return ``params - rate * grads``."""
        del step
        return {k: v - learned[f"rate.{k}"] * grads[k] for k, v in params.items()}, carry


@dataclass(frozen=True, kw_only=True)
class PerStep(InnerRule):
    r"""Move by one learned rate per tensor and step (LSLR of MAML++).

    .. math:: \theta_{k+1} = \theta_k - \alpha_{k} g_k, \quad
              \alpha_k \text{ a scalar for each tensor}

    Args:
        lr: What every rate starts from; rates are free in sign.
        steps, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    State:
        learned: ``rate.<name>`` ``[K]``; steps beyond K repeat the last one.
    Reference:
        Antoniou, Edwards, Storkey, How to Train Your MAML, ICLR 2019, arXiv 1810.09502,
        Section 4. Official code: AntreasAntoniou/HowToTrainYourMAMLPytorch, 8696470.
    Differs:
        The official code keeps a rate for step K + 1, which is never used; here there are K.
    """

    learns: ClassVar[bool] = True

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return K rates per tensor that moves."""
        rates = {k: v.new_full((self.steps,), self.lr) for k, v in params.items()}
        return under(rates, "rate") if self.steps else {}, {}

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return ``params - rate[step] * grads``."""
        moved = {}
        if not learned:
            raise UsageError(
                "it was trained with rule.steps=0 and so has no rate for a step: train it with at "
                "least one inner step"
            )
        for name, value in params.items():
            rates = learned[f"rate.{name}"]  # [T, K]
            rate = rates[:, min(step, rates.shape[1] - 1)]  # [T]
            moved[name] = value - rate.view(-1, *[1] * (value.dim() - 1)) * grads[name]
        return moved, carry
