"""Trajectory coherence: bend adapted solutions towards the tasks' mean direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError, unknown
from metaccord.interactions.base import Interaction
from metaccord.objective import Objective
from metaccord.types import Adaptation, Notes, Own, Params, Stacked


@dataclass(frozen=True, kw_only=True)
class Coherence(Interaction):
    r"""Turn each adapted solution towards the mean direction before the query loss is taken.

    With the displacement :math:`d_i = \theta_i - \theta`, its direction :math:`u_i` and the mean
    direction :math:`\bar u` over tasks, one descent step on :math:`\Omega_i = - u_i \cdot \bar u`
    by the adapted solution, of size :math:`\gamma = r \|d_i\|^2`, gives

    .. math:: \hat\theta_i = \theta_i + r \|d_i\| (I - u_i u_i^\top) \bar u

    It is not applied at meta-test, where a task has no others.

    Args:
        rate: r; the cosine to the mean direction grows for every r up to 2.
        reading: ``"rotate"``: as above. ``"shift"``: the descent step on :math:`- d_i \cdot \bar
            d`, not normalised: :math:`\hat\theta_i = \theta_i + r \bar d`. ``"loss"``: no step at
            all, :math:`r \Omega_i` is added to the query loss and differentiated through the
            inner loop, with the mean direction as a constant.
        differentiate: Let the meta-gradient flow through the correction; otherwise it is a
            constant, and row i is :math:`J_i^\top \nabla L_Q(\hat\theta_i)`. As a loss: through the
            mean direction, too.

    Shape:
        adapted [T, ...] -> [T, ...]; notes: cosine [] and corrected [], the mean cosine between
        two tasks' displacements before and after; 0 for a single task.
    Meets:
        correct; as a loss: penalty.
    State:
        none
    Raises:
        UsageError: if the rate is negative or not finite.
    Reference:
        Guiroy, Verma, Pal, Towards Understanding Generalization in Gradient-Based Meta-Learning,
        2019, arXiv 1907.07287.
    Differs:
        The paper's regulariser is known to us from a summary; it takes the gradient "with respect
        to theta", which we read as the adapted solution, the only descent direction. Its step size
        is unknown; the effect scales like :math:`\gamma / \|d\|^2`, hence r. The total derivative
        through the inner loop as a step (no descent direction) is not offered.
    """

    name: ClassVar[str] = "coherent"
    reference: ClassVar[str] = """@article{guiroy2019towards,
  title = {Towards Understanding Generalization in Gradient-Based Meta-Learning},
  author = {Guiroy, Simon and Verma, Vikas and Pal, Christopher},
  journal = {arXiv preprint arXiv:1907.07287}, year = {2019}
}"""

    rate: float = 0.1
    reading: Literal["rotate", "shift", "loss"] = "rotate"
    differentiate: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise UsageError(f"coherent.rate is {self.rate}: it must be finite, 0 or more")
        if self.reading not in (choices := ("rotate", "shift", "loss")):
            raise unknown("coherent.reading", self.reading, choices)

    @property
    def places(self) -> frozenset[str]:
        """Where this reading acts."""
        return frozenset({"penalty" if self.reading == "loss" else "correct"})

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> Tensor | float:
        """Return the weighted angle terms: ``[T]``."""
        del own, objective
        if self.reading != "loss" or self.rate == 0:
            return 0.0
        unit, _ = _directions(tree.difference(run.adapted, run.initial))
        common = axis.mean(unit)
        return -self.rate * tree.dot(unit, common if self.differentiate else tree.detached(common))

    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        """Return the corrected solutions."""
        del own
        if axis.isolated or self.rate == 0 or self.reading == "loss":
            return adapted
        move = tree.difference(adapted, run.initial)  # [T, ...]: d_i
        if not self.differentiate:
            move = tree.detached(move)
        if self.reading == "shift":
            tilt, factor = axis.mean(move), torch.ones_like(tree.dot(move, move))
        else:
            unit, factor = _directions(move)
            common = axis.mean(unit)
            tilt = tree.difference(common, tree.scale(unit, tree.dot(unit, common)))
        return tree.plus(adapted, tree.scale(tilt, self.rate * factor))

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Record how far displacements agree, before and after the correction."""
        final = {k: run.solution[k] for k in run.adapted}
        return own.running, {
            name: _mean_cosine(tree.difference(end, run.initial), axis)
            for name, end in (("cosine", run.adapted), ("corrected", final))
        }


def _directions(move: Stacked) -> tuple[Stacked, Tensor]:
    """Return unit displacements, 0 where nothing moved, and lengths ``[T]``."""
    square = tree.dot(move, move)
    length = torch.where(square > 0, square, 1.0).sqrt()
    return tree.scale(move, 1 / length), torch.where(square > 0, length, 0.0)


def _mean_cosine(move: Stacked, axis: TaskAxis) -> Tensor:
    """Return the mean cosine over pairs of different tasks that moved, 0 without one: ``[]``."""
    unit, _ = _directions(move)
    total = axis.mean(unit)
    moved = axis.sum(tree.dot(unit, unit))[0]
    square = axis.size**2 * tree.dot(total, total)[0]
    return (square - moved) / (moved * (moved - 1)).clamp(min=1)
