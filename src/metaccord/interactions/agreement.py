"""Gradient Agreement: weigh each task by how far its gradient agrees with all the others'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.interactions.base import Interaction
from metaccord.tree import flat, scale
from metaccord.types import Adaptation, Notes, Own, Stacked


@dataclass(frozen=True, kw_only=True)
class GradientAgreement(Interaction):
    r"""Scale each task's meta-gradient by its agreement with the sum over all tasks.

    The weights come from the displacements of the inner loop, not from the query gradients, and
    are constants. They scale every row of a task, learned step sizes included.

    .. math:: w_i = s_i / \sum_k |s_k|, \quad s_i = \langle g_i, \sum_j g_j \rangle, \quad
              g_i = \theta - \theta_i

    Row i is multiplied by N w_i; the mean over tasks then gives the sum of w_i times row i, for
    MAML's rows (Algorithm 1, line 9) and Reptile's (line 10) alike.

    Shape:
        rows [T, ...] -> [T, ...]; notes: weights [T]; effective_tasks [], 1 / sum w_i^2;
        stretch [], how far sum w_i g_i goes along the mean displacement, relative to its length.
    Meets:
        reconcile; independent.
    State:
        none
    Reference:
        Eshratifar, Eigen, Pedram, Gradient Agreement as an Optimization Objective for
        Meta-Learning, 2018, arXiv 1810.08178, Eq. (1), Algorithm 1. No official code.
    Differs:
        Uniform weights when the scores cancel to within rounding,
        :math:`\sum |s_i| \le 64 \epsilon N \sum |g_i|^2`; the paper divides by zero there.

    Example:
        >>> from metaccord.methods import gradient_agreement, maml
        >>> gradient_agreement(maml()).label
        'maml+agreement'
    """

    name: ClassVar[str] = "agreement"
    reference: ClassVar[str] = """@article{eshratifar2018gradient,
  title = {Gradient Agreement as an Optimization Objective for Meta-Learning},
  author = {Eshratifar, Amir Erfan and Eigen, David and Pedram, Massoud},
  journal = {arXiv preprint arXiv:1810.08178}, year = {2018}
}"""

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Scale row i by N w_i and record the weights."""
        del own
        moved = flat(run.initial) - flat(run.adapted)  # [T, P]: g_i, Algorithm 1 line 7
        total = axis.sum(moved)  # [T, P]
        score = (moved * total).sum(1)  # [T]: s_i = <g_i, sum_j g_j>, Eq. (1)
        found = weights(moved, score, axis)
        squares, signed = axis.sum(torch.stack((found * found, found), 1))[0].unbind()
        least = 64 * torch.finfo(found.dtype).eps  # of the signed sum, by the floor in weights()
        notes = {
            "weights": axis.everyone(found),
            "effective_tasks": 1 / squares,
            "stretch": axis.size * squares / signed.clamp_min(least),  # N <sum w_i g_i, S> / |S|^2
        }
        return scale(rows, axis.size * found), notes


def weights(moved: Tensor, score: Tensor, axis: TaskAxis) -> Tensor:
    """Return w_i = s_i / sum_k |s_k|, uniform where the scores vanish: ``[T]``.

    Args:
        moved: Displacements g_i, ``[T, P]``.
        score: s_i, ``[T]``.
        axis: The tasks that meet.
    """
    sizes = torch.stack((score.abs(), (moved * moved).sum(1)), 1)  # [T, 2]
    total, square = axis.sum(sizes).unbind(1)  # [T]: the same number in every row
    floor = 64 * torch.finfo(score.dtype).eps * axis.size * square
    return torch.where(total > floor, score / total, 1.0 / axis.size)
