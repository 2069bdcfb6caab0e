"""Learned transforms of inner gradients as a wrapper round a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

from metaccord.compat.learn2learn.algorithms.base_learner import BaseLearner, checked
from metaccord.compat.learn2learn.algorithms.maml import maml_update
from metaccord.compat.learn2learn.utils import clone_module
from metaccord.compat.stateless import Stateless
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

    def _move(self, clone: Stateless, grads: list[Tensor | None], first_order: bool) -> None:
        pairs = zip(self.transforms, grads, strict=True)
        moved = [None if g is None else transform(g) for transform, g in pairs]
        if first_order:
            moved = [None if g is None else g.detach() for g in moved]
        maml_update(clone, self.lr, moved)

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
