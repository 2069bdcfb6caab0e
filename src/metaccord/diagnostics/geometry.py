"""How alike the directions of many tasks are, one batch of tasks at a time.

Legend: T tasks of a batch, n tasks of all batches, P numbers per task.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaccord import tree
from metaccord.statistics import Interval, t_quantile
from metaccord.types import Adaptation, Stacked

BLOCKS = 64  # groups of tasks that the jackknife leaves out in turn


def displacements(run: Adaptation) -> Tensor:
    """Return what each inner loop added to what it moves: ``[T, P]``."""
    return tree.flat({k: run.solution[k] - v for k, v in run.initial.items()})


def shaped(vectors: Tensor, like: Stacked) -> Stacked:
    """Undo :func:`metaccord.tree.flat`: ``[T, P]`` -> the names and shapes of ``like``.

    Args:
        vectors: One vector per task; T may differ from that of ``like``.
        like: Gives names and shapes.
    """
    names = sorted(like)
    pieces = torch.split_with_sizes(vectors, [like[k][0].numel() for k in names], dim=1)
    return {
        k: piece.reshape(-1, *like[k].shape[1:]) for k, piece in zip(names, pieces, strict=True)
    }


class Pairs:
    r"""Mean inner product over all pairs of different tasks, with a 95 % interval.

    .. math:: U = \frac{\|\sum_i x_i\|^2 - \sum_i \|x_i\|^2}{n (n - 1)}

    costs O(nP) instead of the O(n^2 P) of all pairs. Pairs share tasks, so they are not
    independent and their standard error is none of U's: the interval leaves out one block of
    tasks after the other (jackknife). Task i belongs to block ``i % blocks``: up to ``blocks``
    tasks this is the delete-one jackknife, beyond it one pass with the sums of the blocks is
    enough. Around U = 0 (orthogonal tasks) the interval is too wide, by up to a factor 1.41.

    Memory: ``blocks`` x P float64, however many tasks there are.

    Args:
        unit: Divide each vector by its length: U is the mean cosine. A vector of length zero has
            no direction: it is counted in ``zeros`` and otherwise left out.
        blocks: At most so many are left out in turn, at least 3.

    Attributes:
        count: Number n of vectors in the mean.
        zeros: Vectors left out.

    Reference:
        Busing, Meijer, van der Leeden, Delete-m jackknife for unequal m, Statistics and
        Computing 9, 1999; pairs as in Guiroy, Verma, Pal, 2019, arXiv 1907.07287.
    Differs:
        The mean of the paper may include the pairs i = j; as here, pairs are of two tasks.

    Example:
        >>> pairs = Pairs(unit=True)
        >>> pairs.add(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 0.0]]))
        >>> round(pairs.mean, 4), pairs.count, pairs.zeros
        (0.3333, 3, 1)
    """

    def __init__(self, *, unit: bool = False, blocks: int = BLOCKS) -> None:
        self.unit, self.blocks = unit, blocks
        self.count = self.zeros = 0
        self._sums = self._squares = torch.empty(0)  # [blocks, P], [blocks]

    def add(self, rows: Tensor) -> None:
        """Take in the vectors of some more tasks, ``[T, P]``."""
        rows = rows.detach().double()
        if not self._sums.numel():
            self._sums = rows.new_zeros(self.blocks, rows.shape[1])
            self._squares = rows.new_zeros(self.blocks)
        if self.unit:
            length = torch.linalg.vector_norm(rows, dim=1)
            moved = length != 0  # a NaN stays and shows in the result
            rows = rows[moved] / length[moved, None]
            self.zeros += int((~moved).sum())
        for piece in tree.split(
            rows, self.blocks
        ):  # no block twice: in-place sums are deterministic
            block = (self.count + torch.arange(len(piece), device=rows.device)) % self.blocks
            self._sums[block] += piece
            self._squares[block] += (piece * piece).sum(1)
            self.count += len(piece)

    @property
    def mean(self) -> float:
        """U; NaN for fewer than two vectors."""
        return self.interval().mean

    def interval(self) -> Interval:
        """Return U and the half-width of its 95 % interval (NaN below two and three vectors)."""
        nan, n = float("nan"), self.count
        if n < 2:
            return Interval(nan, nan)
        used = min(n, self.blocks)
        sums, squares = self._sums[:used], self._squares[:used]
        total, square = sums.sum(0), squares.sum()
        mean = (total @ total - square) / (n * (n - 1))
        if n < 3:
            return Interval(float(mean), nan)
        # Without block g: ||S - S_g||^2 - (Q - q_g), over the pairs that are left.
        sizes = (n // used + (torch.arange(used, device=sums.device) < n % used)).double()  # [used]
        rest = n - sizes
        crossed = total @ total - 2 * (sums @ total) + (sums * sums).sum(1)
        without = (crossed - square + squares) / (rest * (rest - 1))
        weight = n / sizes  # h_g of Busing et al., Eq. (4); all equal to n when blocks are tasks
        pseudo = weight * mean - (weight - 1) * without
        centre = used * mean - (rest / n * without).sum()
        variance = ((pseudo - centre) ** 2 / (weight - 1)).mean()
        return Interval(float(mean), t_quantile(used - 1) * float(variance.sqrt()))
