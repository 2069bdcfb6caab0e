"""CML: a co-learner that is never adapted augments the meta-gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor, nn

from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions.base import Interaction
from metaccord.keys import seeded
from metaccord.models.heads import read, second_head
from metaccord.objective import Objective
from metaccord.tree import scope
from metaccord.types import Adaptation, Batch, Own, Params, Tree


@dataclass(frozen=True, kw_only=True)
class CoLearner(Interaction):
    r"""Add the query loss of a second head on the adapted features.

    The co-learner :math:`\phi` has no inner update: it is learned by the outer loop alone, on
    features :math:`h` of the adapted network, and removed after training.

    .. math:: L_i = L(f(Q_i; \theta_i)) + \gamma \, L(c(h(Q_i; \theta_i); \phi))

    So the meta-gradient of the body gets a second, learned part
    :math:`\gamma J_i^\top \nabla L(c(\cdot))`.

    Args:
        weight: :math:`\gamma`; 0 is the base method.
        shape: Of one example's features; None: what the model says (``feature_shape``), else the
            inputs of its linear ``head``.
        outputs: Outputs of one example; None: those of the model's ``head``.
        hidden: Channels or width of the co-learner; None: those of the features.

    Shape:
        penalty [T].
    Meets:
        penalty; independent.
    State:
        learned: the co-learner's weights; left out by what is saved for use.

    Raises:
        UsageError: if the weight is negative or not finite, or the co-learner does not fit.
    Reference:
        Shin, Han, Kim, Cooperative Meta-Learning with Gradient Augmentation, UAI 2024, PMLR
        244:3198-3210, arXiv 2406.04639. Settings after the official code, JJongyn/CML, c05b024,
        of which nothing is copied.
    Differs:
        The code keeps the best network and the best co-learner of different epochs, and resets
        the outer optimiser every 100 steps; here both belong to one step. Its features lie before
        the last pooling, as in our Conv4; its numbers for regression and graphs are unknown.
    """

    name: ClassVar[str] = "cooperative"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    learns: ClassVar[bool] = True
    discarded: ClassVar[bool] = True
    reference: ClassVar[str] = """@inproceedings{shin2024cooperative,
  title = {Cooperative Meta-Learning with Gradient Augmentation},
  author = {Shin, Jongyun and Han, Seungjin and Kim, Jangho},
  booktitle = {Uncertainty in Artificial Intelligence}, year = {2024}
}"""

    weight: float = 1.0
    shape: tuple[int, ...] | None = None
    outputs: int | None = None
    hidden: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UsageError(f"cooperative.weight is {self.weight}: it must be finite, 0 or more")
        for name, sizes in (("outputs", self.outputs), ("hidden", self.hidden)):
            if sizes is not None and sizes < 1:
                raise UsageError(f"cooperative.{name} is {sizes}: it must be at least 1")
        if self.shape is not None and (len(self.shape) not in (1, 3) or min(self.shape) < 1):
            raise UsageError(
                f"cooperative.shape is {list(self.shape)}: give [width], or [channels, height, "
                "width], each at least 1"
            )

    @property
    def independent(self) -> bool:
        """No task sees another."""
        return True

    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        """Return the co-learner's weights as PyTorch draws them."""
        del params, steps
        with seeded(seed):
            head = second_head(*self._plan(objective.model))
        like = next(iter(objective.trainable().values()))
        return Own({k: v.to(like) for k, v in head.items()}, {})

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> Tensor | float:
        """Return the weighted query losses of the co-learner: ``[T]``.

        Raises:
            UsageError: if the features have another shape than it was made for.
        """
        del axis

        def one(weights: Params, batch: Batch) -> Tensor:
            return objective.judge(read(weights, batch.inputs), batch)

        over, batch = objective.over_tasks(one), run.episodes.query._replace(inputs=run.features)
        try:
            return self.weight * over(own.learned, batch)
        except (RuntimeError, IndexError) as error:
            assert isinstance(run.features, Tensor)
            raise UsageError(
                f"the co-learner does not fit features of shape {tuple(run.features.shape[2:])} "
                f"({str(error).splitlines()[0]}): give cooperative.shape and cooperative.outputs"
            ) from error

    def _plan(self, model: nn.Module) -> tuple[tuple[int, ...], int, int | None]:
        """Return shape, outputs and width of the co-learner."""
        head = getattr(model, "head", None)
        linear = head if isinstance(head, nn.Linear) else None
        shape = getattr(model, "feature_shape", None) if self.shape is None else self.shape
        outputs = self.outputs
        if linear is not None:
            shape = (linear.in_features,) if shape is None else shape
            outputs = linear.out_features if outputs is None else outputs
            if outputs != linear.out_features:
                raise UsageError(
                    f"cooperative.outputs is {outputs}, but the model's head gives "
                    f"{linear.out_features}: both answer the same question"
                )
        if shape is None or outputs is None:
            raise UsageError(
                "the model does not say what its features look like (no feature_shape, no linear "
                "layer called head): give cooperative.shape, such as [64, 5, 5], and "
                "cooperative.outputs"
            )
        return tuple(shape), outputs, self.hidden


@dataclass(frozen=True, eq=False)
class SecondBranch(Objective):
    """The same model and criterion, whose answers are the co-learner's (CML-dagger)."""

    def predict(self, params: Params, inputs: Tree, key: Tensor | None = None) -> Any:
        """Return the co-learner's outputs on the model's features; see :class:`Objective`.

        Args:
            params: The model's, and below ``cooperative.`` the co-learner's.
            inputs, key: As for the model.
        """
        weights = scope(params, CoLearner.name)
        own = {k: v for k, v in params.items() if not k.startswith(f"{CoLearner.name}.")}
        return read(weights, self.predict_with_features(own, inputs, key)[1])

    def batch_dependent(self) -> bool:
        """A co-learner with convolutions normalises by the batch."""
        return True


def second_branch(objective: Objective) -> SecondBranch:
    """Return the objective with the co-learner's answers in place of the model's."""
    given = {f.name: getattr(objective, f.name) for f in fields(Objective) if f.init}
    return SecondBranch(**given)
