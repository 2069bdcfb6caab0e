"""The multi-step loss of MAML++: query losses after every inner step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from metaccord.errors import UsageError
from metaccord.estimators.maml import MAML
from metaccord.types import Adaptation, Params, Stacked
from metaccord.unroll import dropout_key, met

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective

FLOOR = 0.03


@dataclass(frozen=True, kw_only=True)
class MultiStep(MAML):
    r"""Differentiate a weighted sum of the query losses after each of the K inner steps.

    .. math:: \sum_{k=1}^{K} v_{k-1} L_Q(\theta_i^k), \quad
              v_k = \max(1/K - e/(KE), 0.03/K) \; (k < K-1), \quad
              v_{K-1} = \min(1/K + e(K-1)/(KE), 1 - (K-1) 0.03/K)

    At first all steps count alike; from the first epoch that begins after ``horizon`` meta-steps
    only the last one does.

    Args:
        horizon: Meta-steps of the schedule, E times ``epoch``.
        epoch: Meta-steps of one epoch: the weights change when an epoch ends.
        first_order, second_order_from: See :class:`metaccord.estimators.MAML`.

    State:
        running: ``step`` [], int64, the number of meta-steps done.

    Raises:
        UsageError: for an epoch below 1 or a horizon that is shorter.
    Reference:
        Antoniou, Edwards, Storkey, How to Train Your MAML, ICLR 2019, arXiv 1810.09502,
        Section 4. Official code: AntreasAntoniou/HowToTrainYourMAMLPytorch, 8696470.
    """

    horizon: int = 5000
    epoch: int = 500
    needs: ClassVar[frozenset[str]] = frozenset({"path"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.epoch <= self.horizon:
            raise UsageError(
                f"estimator.epoch is {self.epoch} and estimator.horizon {self.horizon}: both count "
                "meta-steps, and 1 <= epoch <= horizon"
            )

    def init(self, method: Method, objective: Objective, seed: int) -> tuple[Params, Params]:
        """Return the counter of meta-steps."""
        del method, seed
        return {}, {"step": torch.zeros((), dtype=torch.int64, device=objective.place())}

    def observe(self, running: Params) -> Params:
        """Count one meta-step."""
        return {"step": running["step"] + 1}

    def weights(self, step: Tensor, count: int, like: Tensor) -> Tensor:
        """Return v_0 .. v_{K-1} at a meta-step: ``[K]``.

        Args:
            step: Number of meta-steps done, [], int64.
            count: K.
            like: Gives dtype and device.
        """
        done = (step // self.epoch * self.epoch).to(like.dtype) / self.horizon
        early = ((1 - done) / count).clamp(min=FLOOR / count)
        last = (1 + done * (count - 1)) / count
        last = last.clamp(max=1 - (count - 1) * FLOOR / count)
        over = done >= 1
        early = torch.where(over, torch.zeros_like(early), early)
        last = torch.where(over, torch.ones_like(last), last)
        return torch.cat([early.expand(count - 1), last.reshape(1)])

    def outer_losses(
        self,
        method: Method,
        objective: Objective,
        stack: Stacked,
        run: Adaptation,
        running: Params,
    ) -> Tensor:
        """Return the weighted sum of the query losses: ``[T]``."""
        assert run.losses is not None
        count = method.rule.steps
        if count < 2:
            return run.losses
        key, query = dropout_key(objective, run.episodes, count), run.episodes.query
        losses = [
            objective.losses(met(method, stack, run, step), query, key) for step in range(1, count)
        ]
        found = torch.stack([*losses, run.losses], dim=1)  # [T, K]
        return (found * self.weights(running["step"], count, found)).sum(1)
