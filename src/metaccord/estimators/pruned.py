"""MGAug's estimator: meta-gradients of pruned copies beside those of the whole network.

Legend: T tasks, S copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from torch import Tensor

from metaccord import keys, tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError, unknown
from metaccord.estimators.maml import MAML
from metaccord.estimators.masks import by_chance, by_score, by_width, channels, inside
from metaccord.objective import Objective
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params, Stacked
from metaccord.unroll import dropout_key, query_losses, unroll

if TYPE_CHECKING:
    from metaccord.method import Method

KINDS = ("parameter", "width", "catfish")
_STREAM = 0x4D474175  # apart from the numbers that order mini-batches


@dataclass(frozen=True, kw_only=True)
class MGAug(MAML):
    r"""Add the meta-gradients of pruned copies of the network, which adapt anew.

    This is a **reconstruction**: the abstract names the idea, the three ways to prune and the
    light version; every formula here is our reading. With masks :math:`D_s` of 0 and 1, drawn
    anew for each task, copy and meta-step, row i is

    .. math:: \nabla_\theta L_Q(\theta_i) + \sum_{s=1}^{S} \nabla_\theta L_Q(\theta_i^{(s)}), \quad
              \theta_i^{(s)} = \mathrm{adapt}(D_s \theta, S_i)

    Inner gradients are masked as well, so what is pruned stays 0 and gets nothing from the copy.
    Weights with two axes or more outside the head are pruned. ``"parameter"`` drops each entry
    with probability ``ratio``. ``"width"`` drops whole output channels (entries along the first
    axis) with their bias, scale and shift; see :func:`metaccord.estimators.masks.channels`.
    ``"catfish"`` drops the entries with the largest :math:`|\theta \, \partial L_S / \partial
    \theta|` at :math:`\theta`, tensor by tensor, on the first inner step's examples. The last two
    drop the whole number nearest to ``ratio`` times the size, and always keep one. At meta-test
    nothing is pruned.

    Args:
        copies: S; catfish has one, since its mask is not random.
        ratio: Fraction pruned, in [0, 1).
        kind: ``"parameter"``, ``"width"`` or ``"catfish"``.
        maxup: Add only the copy with the largest query loss of each task (MGAug-MaxUp); the
            others are adapted without graph.
        head: What is never pruned: a name or the leading part of names.
        first_order, second_order_from: See :class:`metaccord.estimators.MAML`.

    Notes recorded:
        ``pruned_loss`` [T], mean query loss of the copies that were added; ``penalty`` [T].

    Raises:
        UsageError: for no copies, a ratio out of range, several copies of catfish, a model
            without the head or without a weight to prune, or episodes without keys.
    Reference:
        Wang, Sun, Wei, Nie, Ma, Yin, Improving Generalization in Meta-Learning via Meta-Gradient
        Augmentation, 2023, arXiv 2306.08460 (abstract).
    Differs:
        Unknown; see above. The score of catfish is a stand-in for the paper's MMCA. Copies adapt
        alone: sharing, corrections and penalties act on the whole network's adaptation only.
    """

    caveat: ClassVar[str] = "MGAug is a reconstruction from the paper's abstract"
    copies: int = 1
    ratio: float = 0.2
    kind: Literal["parameter", "width", "catfish"] = "parameter"
    maxup: bool = False
    head: str = "head"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies < 1:
            raise UsageError(
                f"estimator.copies is {self.copies}: it must be at least 1; without copies this "
                "is maml()"
            )
        if not 0 <= self.ratio < 1:
            raise UsageError(f"estimator.ratio is {self.ratio}: it must be in [0, 1)")
        if self.kind not in KINDS:
            raise unknown("estimator.kind", self.kind, KINDS)
        if self.kind == "catfish" and self.copies > 1:
            raise UsageError(
                f"estimator.copies is {self.copies}, but copies pruned by catfish are all the "
                "same: set copies=1, or another kind"
            )

    def init(self, method: Method, objective: Objective, seed: int) -> tuple[Params, Params]:
        """Ask for the head and for something to prune."""
        if not any(inside(name, self.head) for name in objective.trainable()):
            raise UsageError(
                f"estimator.head selects {self.head!r}, but the model has no such part: name the "
                "layer that is never pruned"
            )
        if not channels(objective.model, self.head):
            raise UsageError(
                "MGAug prunes weights with two axes or more outside the head, and the model has "
                "none: use maml()"
            )
        return super().init(method, objective, seed)

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Return MAML's rows plus those of the copies, one copy's graph at a time."""
        rows, run = super().piece(method, objective, state, episodes, axis)
        stack = tree.expand(state.params, tree.tasks_in(episodes))
        alone = replace(method, interactions=())
        model, learned = tree.scope(stack, "model"), tree.scope(stack, "rule")
        _, still = method.rule.divide(model, objective.groups)
        model = {**model, **method.rule.at(learned, still, 0)}
        masks = self.masks(method, objective, model, episodes)

        def losses(stack: Stacked, mask: Stacked, *, create_graph: bool) -> Tensor:
            copy = cast(Objective, _Pruned(objective, mask))
            found = unroll(
                alone, copy, stack, state.running, episodes, axis, create_graph=create_graph
            )
            found = query_losses(alone, copy, found)
            assert found.losses is not None
            return found.losses

        if self.maxup and self.copies > 1:
            masks = [_worst(masks, [losses(stack, m, create_graph=False) for m in masks])]
        noted: list[Tensor] = []
        for mask in masks:

            def total(stack: Stacked, mask: Stacked = mask) -> tuple[Tensor, Tensor]:
                found = losses(stack, mask, create_graph=not self.first_order)
                return found.sum(), found.detach()

            more, values = objective.plan.rows(total, stack, create_graph=False)
            rows, noted = tree.plus(rows, more), [*noted, values]
        notes = {**run.notes, "pruned_loss": torch.stack(noted).mean(0)}
        return rows, run._replace(notes=notes)

    def masks(
        self, method: Method, objective: Objective, model: Stacked, episodes: Episode
    ) -> list[Stacked]:
        """Return 0 and 1 for each copy by name, ``[T, ...]``; what has no mask stays whole.

        Args:
            method: Its rule cuts the examples.
            objective: Model and criterion.
            model: The model's tensors before the first step, without prefix, ``[T, ...]``.
            episodes: Data of T tasks, arranged by the rule, with keys ``extra["order"]``.
        """
        groups = channels(objective.model, self.head)
        if self.kind == "catfish":
            scores = _scores(method, objective, model, episodes, list(groups))
            return [by_score(scores, self.ratio)]
        if "order" not in episodes.extra:
            raise UsageError(
                "MGAug draws its masks from the tasks' keys, but episodes.extra has no 'order': "
                "give int64 keys [T], other ones in each meta-step"
            )
        draw = by_width if self.kind == "width" else by_chance
        stream = keys.mix(episodes.extra["order"], _STREAM)  # [T]
        found = [keys.mix(stream, copy) for copy in range(self.copies)]
        return [draw(objective.plan, key, model, groups, self.ratio) for key in found]


class _Pruned:
    """The objective at masked parameters, as far as the inner loop asks for it."""

    def __init__(self, whole: Objective, mask: Stacked) -> None:
        self.whole, self.mask = whole, mask
        self.plan, self.groups, self.draws = whole.plan, whole.groups, whole.draws

    def losses(self, params: Stacked, batch: Batch, key: Tensor | None = None) -> Tensor:
        """Return the criterion of each task: ``[T]``."""
        pruned = {k: v * self.mask[k] if k in self.mask else v for k, v in params.items()}
        return self.whole.losses(pruned, batch, key)


def _worst(masks: list[Stacked], losses: list[Tensor]) -> Stacked:
    """Return each task's mask with the largest loss, the first one of equals."""
    chosen = torch.stack(losses, dim=1).argmax(dim=1)  # [T]
    rows = torch.arange(len(chosen), device=chosen.device)
    return {k: torch.stack([m[k] for m in masks], dim=1)[rows, chosen] for k in masks[0]}


def _scores(
    method: Method, objective: Objective, model: Stacked, episodes: Episode, names: list[str]
) -> Stacked:
    """Return how much the support loss depends on each entry, to first order: ``[T, ...]``."""
    batch, key = method.rule.part(episodes.support, 0), dropout_key(objective, episodes, 0)

    def total(at: Stacked) -> tuple[Tensor, tuple[()]]:
        return objective.losses({**model, **at}, batch, key).sum(), ()

    grads, _ = objective.plan.rows(total, {k: model[k] for k in names}, create_graph=False)
    return {k: (model[k] * grad).detach().abs() for k, grad in grads.items()}
