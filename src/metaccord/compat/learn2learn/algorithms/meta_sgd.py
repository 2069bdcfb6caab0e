"""Meta-SGD as a wrapper round a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from metaccord.compat.learn2learn.algorithms.base_learner import BaseLearner, checked, given_tensors
from metaccord.compat.learn2learn.algorithms.maml import Grads
from metaccord.compat.learn2learn.utils import clone_module, clone_parameters, update_module
from metaccord.compat.stateless import Stateless
from metaccord.errors import UsageError


class MetaSGD(BaseLearner):
    """Meta-SGD as a wrapper: MAML with one learned rate for every number.

    Args:
        model: Any module.
        lr: What every rate starts from.
        first_order: Treat inner gradients as constants.
        lrs: Rates to start from, one tensor for each parameter.

    Reference:
        Li, Zhou, Chen, Li, 2017, arXiv 1707.09835. The interface is learnables/learn2learn's.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1.0,
        first_order: bool = False,
        lrs: Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.module = checked(model)
        self.first_order = first_order
        if lrs is None:
            lrs = nn.ParameterList(
                nn.Parameter(torch.full_like(p, lr)) for p in self.module.parameters()
            )
        self.lrs: Any = lrs

    def _move(self, clone: Stateless, grads: list[Tensor | None], first_order: bool) -> None:
        meta_sgd_update(clone, self.lrs, grads)

    def clone(self) -> MetaSGD:
        """Return a copy to adapt, with a graph back to these parameters and rates."""
        return type(self)(
            clone_module(self.module),
            lrs=clone_parameters(self.lrs),
            first_order=self.first_order,
        )


def meta_sgd_update(
    model: Stateless, lrs: Iterable[Tensor] | None = None, grads: Grads | None = None
) -> Stateless:
    """Move a clone's parameters by ``-rate * gradient``, number by number.

    Args:
        model: A clone; it is changed and returned.
        lrs: Rates, one tensor for each of ``model.parameters()``.
        grads: Gradients, one for each; None leaves one as it is.
    """
    rates, given = list(given_tensors(lrs)), list(given_tensors(grads))
    if len(rates) != len(given):
        raise UsageError(f"lrs has {len(rates)} tensors but grads {len(given)}: give one for each")
    moves = zip(rates, given, strict=True)
    return update_module(model, [None if g is None else -rate * g for rate, g in moves])
