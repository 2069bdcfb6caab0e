"""PCGrad: take from each task's gradient what conflicts with the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.interactions.base import Interaction
from metaccord.keys import mix
from metaccord.tree import flat, scope
from metaccord.types import Adaptation, Notes, Own, Stacked

_SALT = 0x6D656574  # tells the order of projections from other uses of a task's key


@dataclass(frozen=True, kw_only=True)
class PCGrad(Interaction):
    r"""Project each task's meta-gradient off the others with which it conflicts.

    Each task meets the others one after another, in a random order of its own:

    .. math:: g_i \leftarrow g_i - \frac{\langle g_i, g_j \rangle}{|g_j|^2} g_j
              \quad \text{where} \quad \langle g_i, g_j \rangle < 0

    with the others' gradients as they were given. The result is a combination
    :math:`\sum_j W_{ij} g_j`, whose weights follow from the inner products alone. They are found
    for the rows of the model and applied to every row, learned step sizes included.

    Shape:
        rows [T, ...] -> [T, ...]; note: conflicts [], the fraction of pairs of tasks whose
        gradients have a negative inner product.
    Meets:
        reconcile; independent.
    State:
        none
    Reference:
        Yu, Kumar, Gupta, Levine, Hausman, Finn, Gradient Surgery for Multi-Task Learning,
        NeurIPS 2020, arXiv 2001.06782, Algorithm 1.
    Differs:
        The mean over tasks is taken, the paper takes their sum. The order comes from the tasks'
        keys (``episodes.extra["order"]``), not from a global generator; tasks without keys are
        met in the order of their places.

    Example:
        >>> from metaccord.methods import maml, pcgrad
        >>> pcgrad(maml()).label
        'maml+pcgrad'
    """

    name: ClassVar[str] = "pcgrad"
    reference: ClassVar[str] = """@inproceedings{yu2020gradient,
  title = {Gradient Surgery for Multi-Task Learning},
  author = {Yu, Tianhe and Kumar, Saurabh and Gupta, Abhishek and Levine, Sergey and
            Hausman, Karol and Finn, Chelsea},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2020}
}"""

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Combine all tasks' rows by the weights of the projections."""
        del own
        given = flat(scope(rows, "model"))  # [T, P]
        if axis.isolated:
            return rows, {"conflicts": given.new_zeros(())}
        gram = axis.gram(given)
        weights = axis.mine(projections(gram, meetings(task_keys(run, axis))))  # [T, N]
        pairs = max(axis.count * (axis.count - 1), 1)
        found = {k: _combined(weights, axis.gather(v)) for k, v in rows.items()}
        return found, {"conflicts": (gram < 0).to(gram.dtype).sum() / pairs}


def task_keys(run: Adaptation, axis: TaskAxis) -> Tensor:
    """Return the keys of all tasks, zeros for episodes without: ``[N]``, int64."""
    found = run.episodes.extra.get("order")
    if found is None:
        device = next(iter(run.solution.values())).device
        found = torch.zeros(axis.local, dtype=torch.int64, device=device)
    return axis.gather(found)


def meetings(keys: Tensor) -> Tensor:
    """Return the order in which each task meets all tasks: ``[N] -> [N, N]``, itself included.

    It depends on the two tasks' keys alone, so permuted tasks meet in the same order.
    """
    words = mix(mix(keys, _SALT)[:, None], keys)  # [N, N]: row i ranks all tasks for task i
    return words.argsort(dim=1, stable=True)


def projections(gram: Tensor, order: Tensor) -> Tensor:
    """Return W, whose row i says how task i's projected gradient combines all gradients.

    Args:
        gram: Inner products, ``[N, N]``.
        order: Whom each task meets, ``[N, N]``; meeting itself changes nothing.
    """
    tasks = torch.arange(len(gram), device=gram.device)
    weights = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for met in order.unbind(1):  # [N]: whom each task meets now
        inner = (weights * gram[met]).sum(1)  # <g_i so far, g_j>
        square = gram.diagonal()[met]  # |g_j|^2; a zero gradient conflicts with nobody
        against = (inner < 0) & (square > 0) & (met != tasks)
        share = torch.where(against, inner / square, 0.0)
        weights = weights - share[:, None] * (met[:, None] == tasks)
    return weights


def _combined(weights: Tensor, rows: Tensor) -> Tensor:
    found = weights.to(rows.dtype) @ rows.reshape(len(rows), -1)
    return found.reshape(len(weights), *rows.shape[1:])
