"""Inner rules with learned step sizes: Meta-SGD and one rate per tensor and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from metaccord.errors import UsageError
from metaccord.names import Groups
from metaccord.rules.base import InnerRule
from metaccord.tree import scope, under
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
    r"""Move by one learned rate per tensor and step (LSLR of MAML++), perhaps with norms per step.

    .. math:: \theta_{k+1} = \theta_k - \alpha_{k} g_k, \quad
              \alpha_k \text{ a scalar for each tensor}

    Args:
        lr: What every rate starts from; rates are free in sign.
        norms: Learn scale and shift of BatchNorm apart for each number of inner steps done. They
            must stay (``never=("batchnorm",)``), and start from the model's own, which have no
            effect any more and rows of zeros. Normalisation is by batch statistics as ever.
        steps, only, never, batch, clip_norm, clip_value: See
            :class:`metaccord.rules.InnerRule`.

    State:
        learned: ``rate.<name>`` ``[K]``; with ``norms`` also ``norm.<name>`` ``[K + 1, ...]``:
        entry k serves inner step k and the query loss after k steps. Steps beyond K repeat the
        last one.

    Raises:
        UsageError: for ``norms`` without scale or shift of BatchNorm that stays.
    Reference:
        Antoniou, Edwards, Storkey, How to Train Your MAML, ICLR 2019, arXiv 1810.09502,
        Section 4. Official code: AntreasAntoniou/HowToTrainYourMAMLPytorch, 8696470.
    Differs:
        The official code keeps a rate for step K + 1, which is never used; here there are K. Its
        norms have K entries, and a query loss takes the one of the step just made. It also keeps
        running statistics per step, with which nothing is normalised.
    """

    learns: ClassVar[bool] = True
    norms: bool = False

    @property
    def stepwise(self) -> bool:
        """Whether each step has its own scale and shift."""
        return self.norms

    def init(self, params: Params) -> tuple[Params, Params]:
        """Return K rates per tensor that moves."""
        rates = {k: v.new_full((self.steps,), self.lr) for k, v in params.items()}
        return under(rates, "rate") if self.steps else {}, {}

    def init_still(self, still: Params, groups: Groups) -> Params:
        """Return K + 1 copies of each scale and shift that stays, if they are learned per step."""
        if not self.norms:
            return {}
        names = [k for k in still if k in groups.get("batchnorm", ())]
        if not names:
            raise UsageError(
                "rule.norms is true, but the model has no scale or shift of BatchNorm that the "
                'inner loop leaves alone: set rule.never=["batchnorm"], or rule.norms=false for a '
                "model without BatchNorm"
            )
        copies = {k: still[k].expand(self.steps + 1, *still[k].shape) for k in names}
        return under(copies, "norm")

    def at(self, learned: Stacked, still: Stacked, step: int) -> Stacked:
        """Return what stays with the scale and shift that belong to ``step`` steps done."""
        norms = scope(learned, "norm")  # [T, K + 1, ...]
        if bool(norms) != self.norms:
            raise UsageError(
                f"rule.norms is {str(self.norms).lower()}, but what was trained has "
                f"{'scales' if norms else 'no scale'} per step: use the method it was trained with"
            )
        return {**still, **{k: v[:, min(step, v.shape[1] - 1)] for k, v in norms.items()}}

    def update(
        self, learned: Stacked, params: Stacked, grads: Stacked, carry: Stacked, step: int
    ) -> tuple[Stacked, Stacked]:
        """Return ``params - rate[step] * grads``."""
        moved = {}
        if not scope(learned, "rate"):
            raise UsageError(
                "it was trained with rule.steps=0 and so has no rate for a step: train it with at "
                "least one inner step"
            )
        for name, value in params.items():
            rates = learned[f"rate.{name}"]  # [T, K]
            rate = rates[:, min(step, rates.shape[1] - 1)]  # [T]
            moved[name] = value - rate.view(-1, *[1] * (value.dim() - 1)) * grads[name]
        return moved, carry
