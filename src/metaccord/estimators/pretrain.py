"""Ordinary pre-training, the baseline without an inner loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from metaccord import keys, tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.estimators.base import Estimator
from metaccord.types import Adaptation, Batch, Episode, MetaState, Params, Stacked
from metaccord.uneven import together

if TYPE_CHECKING:
    from metaccord.method import Method
    from metaccord.objective import Objective
    from metaccord.rules.base import InnerRule

_NONE = "pre-training has no inner loop in which tasks could influence each other"


@dataclass(frozen=True, kw_only=True)
class Pretrain(Estimator):
    r"""Train on all examples of all tasks at once; the inner loop is for fine-tuning at test.

    For classification the last layer is replaced, in training, by one with an output for every
    class of the family, and labels are the true classes. At test the network's own last layer,
    which was never trained, is fine-tuned with the rest by the inner rule.

    Args:
        classes: Number of classes of the family; 0: regression, whose tasks share the outputs.
        head: Name of the network's last layer, an ``nn.Linear``.

    State:
        learned: ``weight`` [classes, features], ``bias`` [classes] of the large last layer.

    Raises:
        UsageError: without such a layer, or without class numbers in ``episodes.extra``.
    Reference:
        The fine-tuning baseline of Guiroy, Verma, Pal, Towards Understanding Generalization in
        Gradient-Based Meta-Learning, 2019, arXiv 1907.07287.
    Differs:
        The paper's batches are not told; here a batch holds the support and query examples of the
        tasks of a meta-step, normalised task by task.
    """

    classes: int = 0
    head: str = "head"
    refuses: ClassVar = MappingProxyType(
        dict.fromkeys(("share", "correct", "penalty", "reconcile"), _NONE)
    )

    def __post_init__(self) -> None:
        if self.classes < 0:
            raise UsageError(f"estimator.classes is {self.classes}: it must be 0 or more")

    def suits(self, rule: InnerRule) -> None:
        """Refuse rules with something to learn or to keep: nothing is adapted in training."""
        if rule.learns or rule.batch is not None or getattr(rule, "persist", False):
            raise UsageError(
                f"pre-training has no inner loop in training, so {type(rule).__name__} could not "
                "learn rates, keep moments or cut mini-batches there: use rules.SGD with "
                "rule.batch=none"
            )

    def init(self, method: Method, objective: Objective, seed: int) -> tuple[Params, Params]:
        """Return the large last layer, drawn as PyTorch draws one."""
        del method
        if not self.classes:
            return {}, {}
        own = objective.trainable().get(f"{self.head}.weight")
        if own is None or own.dim() != 2:
            raise UsageError(
                f"pre-training replaces the last layer, but the model has no linear layer called "
                f"{self.head!r}: name it with estimator.head"
            )
        limit = 1 / math.sqrt(own.shape[1])

        def drawn(number: int, *shape: int) -> Tensor:
            key = keys.mix(torch.tensor(seed), number)
            return ((2 * keys.uniform(key, shape) - 1) * limit).to(own)

        learned = {"weight": drawn(1, self.classes, own.shape[1])}
        if f"{self.head}.bias" in objective.trainable():
            learned["bias"] = drawn(2, self.classes)
        return learned, {}

    def piece(
        self,
        method: Method,
        objective: Objective,
        state: MetaState,
        episodes: Episode,
        axis: TaskAxis,
    ) -> tuple[Stacked, Adaptation]:
        """Return the gradients of the training losses; nothing is adapted."""
        del axis
        batch = self._batch(episodes)
        key = episodes.extra.get("dropout") if objective.draws else None

        def total(stack: Stacked) -> tuple[Tensor, Tensor]:
            large = tree.under(tree.scope(stack, "estimator"), self.head)
            losses = objective.losses(tree.scope(stack, "model") | large, batch, key)
            return losses.sum(), losses.detach()

        stack = tree.expand(state.params, tree.tasks_in(episodes))
        rows, losses = objective.plan.rows(total, stack, create_graph=False)
        still = tree.scope(stack, "model")
        moves, _ = method.rule.divide(still, objective.groups)
        return rows, Adaptation((moves, moves), (), {}, still, episodes, (), losses)

    def _batch(self, episodes: Episode) -> Batch:
        """Return support and query as one batch, with the true classes as targets."""
        both = together(episodes.support, episodes.query)
        if not self.classes:
            return both
        classes = episodes.extra.get("classes")  # [T, ways]
        if classes is None:
            raise UsageError(
                "pre-training needs the true classes of each task: a TaskSource gives them as "
                "episodes.extra['classes'], [T, ways]"
            )
        return both._replace(targets=classes.gather(1, both.targets), ways=())
