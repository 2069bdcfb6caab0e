"""Calibration against a slow twin, closed forms and simulated classifiers."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord.errors import DataError, UsageError

Calibration = mc.Calibration


def answers(count: int, classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities, and targets that are drawn from them: perfectly calibrated."""
    torch.manual_seed(seed)
    p = (2 * torch.randn(count, classes, dtype=torch.float64)).softmax(1)
    return p, torch.multinomial(p, 1)[:, 0]


def twin(p: Tensor, targets: Tensor, bins: int) -> tuple[float, float, float]:
    """ECE, Brier and NLL, one answer after the other."""
    kept: dict[int, list[tuple[float, bool]]] = {}
    brier = nll = 0.0
    for row, target in zip(p.tolist(), targets.tolist(), strict=True):
        top = max(row)
        place = next(i for i in range(bins) if top <= (i + 1) / bins + 1e-15)
        kept.setdefault(place, []).append((top, row.index(top) == target))
        brier += sum((x - (i == target)) ** 2 for i, x in enumerate(row))
        nll -= math.log(row[target])
    gap = 0.0
    for found in kept.values():
        confidence = sum(c for c, _ in found) / len(found)
        accuracy = sum(r for _, r in found) / len(found)
        gap += len(found) / len(p) * abs(confidence - accuracy)
    return gap, brier / len(p), nll / len(p)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_it_equals_the_slow_twin(classes: int, bins: int) -> None:
    p, targets = answers(300, classes)
    found = Calibration.of(p, targets, bins=bins)
    assert (found.ece, found.brier, found.nll) == pytest.approx(twin(p, targets, bins), rel=1e-12)
    assert found.accuracy == (p.argmax(1) == targets).double().mean().item()
    logits = p.log() + 3.0
    again = Calibration.of_logits(logits, targets, bins=bins)
    assert again.ece == pytest.approx(found.ece, rel=1e-12)


def test_batches_add_up() -> None:
    p, targets = answers(300, 3)
    parts = [Calibration.of(p[i::7], targets[i::7]) for i in range(7)]
    total = sum(parts[1:], parts[0])
    whole = Calibration.of(p, targets)
    assert total.counts == whole.counts
    assert total.right == whole.right
    assert (total.ece, total.nll) == pytest.approx((whole.ece, whole.nll), rel=1e-12)
    with pytest.raises(UsageError, match="15 and 3 bins cannot be added"):
        _ = whole + Calibration.of(p, targets, bins=3)


def test_a_calibrated_model_and_one_that_is_too_sure() -> None:
    """Sharpened logits raise ECE and NLL, and change no answer."""
    p, targets = answers(20_000, 5)
    honest = Calibration.of(p, targets)
    sure = Calibration.of_logits(2.5 * p.log(), targets)
    assert honest.ece < 0.012
    assert sure.ece > 0.1
    assert sure.nll > honest.nll
    assert sure.brier > honest.brier
    assert sure.accuracy == honest.accuracy
    for low, high, number, confidence, accuracy in honest.reliability:
        if number > 500:
            assert low < confidence <= high
            assert abs(confidence - accuracy) < 5 * math.sqrt(0.25 / number)


def test_closed_forms() -> None:
    even = Calibration.of(torch.full((8, 4), 0.25), torch.arange(8) % 4)
    assert (even.ece, even.brier, even.nll) == pytest.approx((0, 0.75, math.log(4)))
    perfect = Calibration.of(torch.eye(3), torch.arange(3))
    assert (perfect.ece, perfect.brier, perfect.nll) == (0, 0, 0)
    wrong = Calibration.of(torch.eye(3), torch.tensor([1, 2, 0]))
    assert (wrong.ece, wrong.brier, wrong.nll) == (1, 2, math.inf)
    assert wrong.counts == (*[0] * 14, 3)


def test_an_edge_belongs_to_the_bin_below() -> None:
    p = torch.tensor([[0.5, 0.5], [0.75, 0.25]], dtype=torch.float64)
    assert Calibration.of(p, torch.tensor([0, 0]), bins=4).counts == (0, 1, 1, 0)


def test_it_is_read_back_and_shown() -> None:
    found = Calibration.of(*answers(50, 3))
    again = Calibration.from_json(json.loads(json.dumps(found.json())))
    assert again.reliability[5:] == found.reliability[5:]
    assert (again.ece, again.brier, again.nll) == pytest.approx((found.ece, found.brier, found.nll))
    assert "over 50 answers" in str(found)
    assert "(15 bins)" in str(found)


def test_what_is_not_finite_stays_so() -> None:
    p, targets = answers(5, 3)
    p[2] = math.nan
    found = Calibration.of(p, targets)
    assert found.examples == 4
    assert all(map(math.isnan, (found.ece, found.brier, found.nll)))


BAD = {
    "shape": (torch.ones(3), torch.zeros(3).long(), "give .examples, classes."),
    "lengths": (torch.ones(3, 1), torch.zeros(2).long(), "targets .2."),
    "empty": (torch.ones(0, 2), torch.zeros(0).long(), "give .examples, classes."),
    "logits": (torch.randn(3, 4) * 3, torch.zeros(3).long(), "Calibration.of_logits"),
    "negative": (torch.tensor([[1.5, -0.5]]), torch.tensor([0]), "below 0"),
    "class": (torch.ones(2, 1), torch.tensor([0, 1]), "from 0 to 0"),
    "floats": (torch.ones(2, 1), torch.zeros(2), "whole numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_answers_are_refused(case: str) -> None:
    p, targets, word = BAD[case]
    with pytest.raises(DataError, match=word):
        Calibration.of(p, targets)
    with pytest.raises(UsageError, match="bins is 0"):
        Calibration.of(torch.ones(2, 1), torch.zeros(2).long(), bins=0)


def test_the_interval_of_a_bin() -> None:
    """A bin in which all are right is not known for certain; one without answers is not known."""
    sure = Calibration((0, 20), (0.0, 19.0), (0, 20), 0.0, 0.0).reliability
    assert math.isnan(sure[0].half)
    assert sure[1].half == pytest.approx(1.96 * math.sqrt(21 / 22 * 1 / 22 / 20))
