"""Calibration: whether answers given with confidence p are right in p of all cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaccord.errors import DataError, UsageError

BINS = 15
LEAST = 20  # answers in a bin from which its accuracy is drawn
_MOST_BINS = 1000
_TOLERANCE = 1e-3  # by which probabilities may miss a sum of 1


class Bin(NamedTuple):
    """Answers whose confidence lies in (low, high].

    Attributes:
        low, high: The ends.
        examples: Number of answers.
        confidence: Their mean confidence; NaN without answers.
        accuracy: The fraction of them that is right; NaN without answers.
    """

    low: float
    high: float
    examples: int
    confidence: float
    accuracy: float

    @property
    def half(self) -> float:
        """Half-width of the accuracy's 95 % interval if answers were independent; NaN without any.

        It is 1.96 standard errors of the share with one answer more on each side.
        """
        if not self.examples:
            return math.nan
        share = (self.accuracy * self.examples + 1) / (self.examples + 2)
        return 1.96 * math.sqrt(share * (1 - share) / self.examples)


@dataclass(frozen=True)
class Calibration:
    """How sure a classifier is, and how often it is right; sums, so that batches can be added.

    The confidence of an answer is its largest probability. Bins have equal width.

    Args:
        counts: Answers in each bin.
        confidences: Sum of the confidences in each bin.
        right: Number of right answers in each bin.
        brier_sum: Sum over answers of the squared distance between the probabilities and the
            truth as 0 and 1; at most 2 each.
        nll_sum: Sum over answers of minus the logarithm of the true class's probability.

    Reference:
        Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, Eq. 3;
        Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.

    Example:
        >>> sure = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> found = Calibration.of(sure, torch.tensor([0, 1, 1, 0]), bins=2)
        >>> found.examples, found.accuracy
        (4, 0.75)
    """

    counts: tuple[int, ...]
    confidences: tuple[float, ...]
    right: tuple[int, ...]
    brier_sum: float
    nll_sum: float

    @classmethod
    def of(cls, probabilities: Tensor, targets: Tensor, *, bins: int = BINS) -> Calibration:
        """Measure answers.

        Args:
            probabilities: ``[n, C]``, each row summing to 1.
            targets: True classes ``[n]``, whole numbers.
            bins: Number of bins of equal width.

        Raises:
            DataError: if shapes do not fit, a row does not sum to 1, or a class is unknown.
            UsageError: for a number of bins out of range.
        """
        if not 1 <= bins <= _MOST_BINS:
            raise UsageError(f"bins is {bins}: it must be in 1 .. {_MOST_BINS}")
        _check(probabilities, targets)
        found = tally(probabilities.detach().double(), targets.long(), bins)
        return cls.summed(found)

    @classmethod
    def summed(cls, found: Tensor) -> Calibration:
        """Return what :func:`tally` found, ``[3 * bins + 2]``, as a value."""
        numbers = found.double().tolist()
        bins = len(numbers) // 3
        counts, confidences, right = (numbers[i * bins : (i + 1) * bins] for i in range(3))
        whole = (tuple(int(x) for x in column) for column in (counts, right))
        return cls(next(whole), tuple(confidences), next(whole), numbers[-2], numbers[-1])

    @classmethod
    def of_logits(cls, logits: Tensor, targets: Tensor, *, bins: int = BINS) -> Calibration:
        """Measure answers given as logits ``[n, C]``; see :meth:`of`."""
        if logits.dim() != 2:
            raise DataError(f"logits have shape {list(logits.shape)}: give [examples, classes]")
        return cls.of(logits.detach().double().softmax(1), targets, bins=bins)

    def __add__(self, other: Calibration) -> Calibration:
        if len(self.counts) != len(other.counts):
            raise UsageError(
                f"calibrations of {len(self.counts)} and {len(other.counts)} bins cannot be added: "
                "measure both with the same bins"
            )
        return Calibration(
            tuple(map(add, self.counts, other.counts)),
            tuple(map(add, self.confidences, other.confidences)),
            tuple(map(add, self.right, other.right)),
            self.brier_sum + other.brier_sum,
            self.nll_sum + other.nll_sum,
        )

    @property
    def examples(self) -> int:
        """Number of answers whose probabilities are finite."""
        return sum(self.counts)

    @property
    def accuracy(self) -> float:
        """Fraction of right answers."""
        return self._mean(sum(self.right))

    @property
    def brier(self) -> float:
        """Mean Brier score over all classes, in [0, 2]; 0 is best."""
        return self._mean(self.brier_sum)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood, nats."""
        return self._mean(self.nll_sum)

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]: the mean gap over bins, weighed by answers.

        It is never negative, so that chance alone makes it larger: about 0.01 for a perfectly
        calibrated model over some thousand answers.
        """
        gaps = (abs(c - r) for c, r in zip(self.confidences, self.right, strict=True))
        return self._mean(sum(gaps))

    @property
    def reliability(self) -> tuple[Bin, ...]:
        """The reliability curve: confidence and accuracy of each bin."""
        bins = len(self.counts)
        rows = zip(self.counts, self.confidences, self.right, strict=True)
        return tuple(
            Bin(i / bins, (i + 1) / bins, n, *((c / n, r / n) if n else (math.nan, math.nan)))
            for i, (n, c, r) in enumerate(rows)
        )

    def __str__(self) -> str:
        return (
            f"ECE {100 * self.ece:.2f} % ({len(self.counts)} bins), Brier {self.brier:.4f}, "
            f"NLL {self.nll:.4f} over {self.examples} answers"
        )

    def json(self) -> dict[str, Any]:
        """Return the summary and the sums as one JSON object; see :meth:`from_json`."""
        return {
            **{"ece": self.ece, "brier": self.brier, "nll": self.nll, "examples": self.examples},
            **{key: list(getattr(self, key)) for key in ("counts", "confidences", "right")},
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Calibration:
        """Return what :meth:`json` described."""
        counts, confidences, right = (tuple(found[k]) for k in ("counts", "confidences", "right"))
        total = sum(counts)
        return cls(counts, confidences, right, found["brier"] * total, found["nll"] * total)

    def _mean(self, total: float) -> float:
        if not self.examples or not math.isfinite(self.brier_sum):
            return math.nan
        return total / self.examples


def tally(p: Tensor, targets: Tensor, bins: int = BINS) -> Tensor:
    """Return the sums over some answers: counts, confidences and right ones by bin, Brier, NLL.

    Nothing depends on the data but numbers, so that it can be mapped over tasks.

    Args:
        p: Probabilities ``[n, C]``.
        targets: True classes ``[n]``.
        bins: Number of bins.

    Returns:
        ``[3 * bins + 2]``; an answer that is not finite is in no bin.
    """
    confidence, answers = p.max(1)
    own = p.gather(1, targets[:, None])[:, 0]
    place = (confidence * bins).ceil().clamp(1, bins)
    inside = (place[:, None] == torch.arange(1, bins + 1, device=p.device)).to(p.dtype)
    right = (answers == targets).to(p.dtype)
    columns = [inside, confidence.nan_to_num()[:, None] * inside, right[:, None] * inside]
    brier, nll = (p.square().sum(1) - 2 * own + 1).sum(), -own.log().sum()
    return torch.cat([torch.stack(columns).sum(1).flatten(), torch.stack([brier, nll])])


def _check(probabilities: Tensor, targets: Tensor) -> None:
    shape = list(probabilities.shape)
    if len(shape) != 2 or not all(shape) or list(targets.shape) != shape[:1]:
        raise DataError(
            f"probabilities have shape {shape} and targets {list(targets.shape)}: give "
            "[examples, classes] and [examples]"
        )
    if targets.is_floating_point() or not 0 <= int(targets.min()) <= int(targets.max()) < shape[1]:
        raise DataError(
            f"targets are {targets.dtype} from {targets.min()} to {targets.max()}: they must be "
            f"whole numbers from 0 to {shape[1] - 1}, one column of probabilities each"
        )
    sums = probabilities.detach().double().sum(1)
    if not bool(((sums - 1).abs() <= _TOLERANCE).logical_or(sums.isnan()).all()):
        raise DataError(
            f"probabilities sum to {float(sums.min()):.4g} .. {float(sums.max()):.4g} in a row: "
            "they must sum to 1 (for logits use Calibration.of_logits)"
        )
    if bool((probabilities < 0).any()):
        raise DataError(f"probabilities go down to {float(probabilities.min()):.3g}: below 0")
