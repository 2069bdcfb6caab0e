"""Learned transforms of inner gradients as a wrapper round a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

from metaccord.compat.learn2learn.algorithms.base_learner import (
    BaseLearner,
    checked,
    chosen,
    gradients,
)
from metaccord.compat.learn2learn.algorithms.maml import maml_update
from metaccord.compat.learn2learn.utils import clone_module
from metaccord.errors import UsageError


class GBML(BaseLearner):
    """Gradient-based meta-learning with a learned transform of the inner gradients.

    Args:
        module: Any module.
        transform: Called with each parameter, gives a module that maps its gradient to an update
            of the same shape, or None for the gradient itself.
        lr: Inner step size.
        adapt_transform: Must be False: the transforms are learned by the outer loop alone.
        first_order: Treat updates as constants.
        allow_unused: Let parameters that the loss does not use stay.
        allow_nograd: Let frozen parameters stay.
        transforms: Those of the learner that this is a clone of.

    Reference:
        The interface is learnables/learn2learn's.
    Differs:
        Adapting the transforms in the inner loop is refused.
    """

    def __init__(
        self,
        module: nn.Module,
        transform: Callable[[Tensor], nn.Module | None],
        lr: float | Tensor = 1.0,
        adapt_transform: bool = False,
        first_order: bool = False,
        allow_unused: bool = False,
        allow_nograd: bool = False,
        *,
        transforms: nn.ModuleList | None = None,
    ) -> None:
        super().__init__()
        if adapt_transform:
            raise UsageError(
                "adapt_transform is True, which is not here: learn rates and transforms in the "
                "outer loop (adapt_transform=False), or use metaccord.methods.warp"
            )
        self.module = checked(module)
        self.transform, self.lr, self.first_order = transform, lr, first_order
        self.allow_unused, self.allow_nograd = allow_unused, allow_nograd
        if transforms is None:
            found = (transform(p) for p in self.module.parameters())
            transforms = nn.ModuleList(nn.Identity() if t is None else t for t in found)
        self.transforms = transforms

    def adapt(
        self,
        loss: Tensor,
        first_order: bool | None = None,
        allow_unused: bool | None = None,
        allow_nograd: bool | None = None,
    ) -> None:
        """Take one step of this clone along the transformed gradients.

        Args:
            loss: One number, computed with this clone.
            first_order, allow_unused, allow_nograd: None: as at construction.

        Raises:
            UsageError: if this is no clone, the loss does not depend on its parameters, or a
                transform changes the shape.
        """
        module, order = self._adaptable(), chosen(first_order, self.first_order)
        grads = gradients(
            module,
            loss,
            first_order=order,
            allow_unused=chosen(allow_unused, self.allow_unused),
            allow_nograd=chosen(allow_nograd, self.allow_nograd),
        )
        pairs = zip(self.transforms, grads, strict=True)
        moved = [None if g is None else transform(g) for transform, g in pairs]
        if order:
            moved = [None if g is None else g.detach() for g in moved]
        maml_update(module, self.lr, moved)

    def clone(self) -> Self:
        """Return a copy to adapt, with a graph back to these parameters; transforms are shared."""
        return type(self)(
            clone_module(self.module),
            self.transform,
            self.lr,
            first_order=self.first_order,
            allow_unused=self.allow_unused,
            allow_nograd=self.allow_nograd,
            transforms=self.transforms,
        )
