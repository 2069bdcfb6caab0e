"""Gradient Agreement for TorchJD: its weights from the rows of any Jacobian.

Needs TorchJD; nothing else imports this module.
"""

from __future__ import annotations

from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.interactions.aggregator import library
from metaccord.interactions.agreement import weights

library()  # says what to install
from torchjd.aggregation import GramianWeightedAggregator, Weighting  # noqa: E402

__all__ = ["Agreement", "AgreementWeighting"]


class AgreementWeighting(Weighting[Tensor]):
    r"""Weigh each row by its agreement with the sum of all rows.

    .. math:: w_i = s_i / \sum_k |s_k|, \quad s_i = \langle g_i, \sum_j g_j \rangle

    from the Gramian :math:`G_{ij} = \langle g_i, g_j \rangle`, uniform where the scores cancel
    to within rounding. In the paper g_i is the displacement of task i in the inner loop, which
    :class:`metaccord.interactions.GradientAgreement` takes; here it is whatever row is given,
    usually a gradient. For gradients of the support losses the weights are those of one inner
    step of gradient descent.

    Shape:
        Gramian [m, m] -> [m], of absolute sum 1.
    Reference:
        Eshratifar, Eigen, Pedram, Gradient Agreement as an Optimization Objective for
        Meta-Learning, 2018, arXiv 1810.08178, Eq. (1).
    """

    def forward(self, stat: Tensor, /) -> Tensor:
        """Return the weights of the rows of a Gramian: ``[m, m] -> [m]``."""
        lengths = stat.diagonal().clamp_min(0).sqrt()
        return weights(lengths[:, None], stat.sum(1), TaskAxis(len(stat)))


class Agreement(GramianWeightedAggregator):
    """Combine the rows of a Jacobian by :class:`AgreementWeighting`: ``[m, n] -> [n]``.

    Example:
        >>> import torch
        >>> Agreement()(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([0.5000, 0.5000])
    """

    def __init__(self) -> None:
        super().__init__(AgreementWeighting())
