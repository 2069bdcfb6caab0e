"""MAML as a wrapper round a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from metaccord.compat.learn2learn.algorithms.base_learner import (
    BaseLearner,
    checked,
    chosen,
    given_tensors,
)
from metaccord.compat.learn2learn.utils import clone_module, update_module
from metaccord.compat.stateless import Stateless

Grads = Sequence[Tensor | None]


class MAML(BaseLearner):
    """Model-Agnostic Meta-Learning as a wrapper: ``clone()``, then ``adapt(loss)``.

    Args:
        model: Any module.
        lr: Inner step size; a tensor may be learned.
        first_order: Treat inner gradients as constants.
        allow_unused: Let parameters that the loss does not use stay; None: as ``allow_nograd``.
        allow_nograd: Let frozen parameters stay.

    Reference:
        Finn, Abbeel, Levine, ICML 2017, arXiv 1703.03400. The interface is
        learnables/learn2learn's.
    Differs:
        Errors are raised, not printed; a model that was not cloned is not adapted.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float | Tensor,
        first_order: bool = False,
        allow_unused: bool | None = None,
        allow_nograd: bool = False,
    ) -> None:
        super().__init__()
        self.module = checked(model)
        self.lr = lr
        self.first_order = first_order
        self.allow_nograd = allow_nograd
        self.allow_unused = allow_nograd if allow_unused is None else allow_unused

    def _move(self, clone: Stateless, grads: list[Tensor | None], first_order: bool) -> None:
        maml_update(clone, self.lr, grads)

    def clone(
        self,
        first_order: bool | None = None,
        allow_unused: bool | None = None,
        allow_nograd: bool | None = None,
    ) -> MAML:
        """Return a copy to adapt, with a graph back to these parameters.

        Args:
            first_order, allow_unused, allow_nograd: None: as here.
        """
        return type(self)(
            clone_module(self.module),
            lr=self.lr,
            first_order=chosen(first_order, self.first_order),
            allow_unused=chosen(allow_unused, self.allow_unused),
            allow_nograd=chosen(allow_nograd, self.allow_nograd),
        )


def maml_update(model: Stateless, lr: float | Tensor, grads: Grads | None = None) -> Stateless:
    """Move a clone's parameters by ``-lr`` times their gradients, keeping the graph.

    Args:
        model: A clone; it is changed and returned.
        lr: Step size.
        grads: One for each of ``model.parameters()``; None leaves one as it is.
    """
    return update_module(model, [None if g is None else -lr * g for g in given_tensors(grads)])
