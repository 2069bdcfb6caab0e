"""The temperature is the likeliest one, and what is measured is what adapted models answer."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

import metaccord as mc
from metaccord import tree
from metaccord.calibration import Calibration
from metaccord.deploy.measure import fitted
from metaccord.errors import NumericalError, UsageError
from tests.deploy.support import BLOBS, conv, sine

LOGITS = torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def likelihood(temperature: float, answers: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    losses = [torch.nn.functional.cross_entropy(z / temperature, y) for z, y in answers]
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    many = LOGITS.repeat(100, 1) * 3
    draw = torch.Generator().manual_seed(1)
    labels = torch.multinomial((many / true).softmax(1), 1, generator=draw)[:, 0]
    assert fitted([(many, labels)]) == pytest.approx(true, rel=0.05)


def test_no_other_temperature_is_likelier() -> None:
    draw = torch.Generator().manual_seed(2)
    noise = torch.randn(200, 4, generator=draw, dtype=torch.float64)
    labels = (LOGITS + noise).argmax(1)
    answers = list(zip(LOGITS.split(50), labels.split(50), strict=True))
    best = fitted(answers)
    assert 1 / 19 < best < 19
    for other in (best * 0.98, best * 1.02):
        assert likelihood(best, answers) < likelihood(other, answers)


def test_answers_that_are_always_right_or_useless_stay_in_bounds() -> None:
    labels = LOGITS.argmax(1)
    assert fitted([(LOGITS, labels)]) == pytest.approx(1 / 20)
    assert fitted([(LOGITS, LOGITS.argmin(1))]) == pytest.approx(20)


def test_what_is_measured_is_what_predictors_answer() -> None:
    """One predictor per test task, its queries one by one."""
    learner = conv()
    found = mc.deploy.measure(learner, 5, source=BLOBS)
    episodes = BLOBS.episodes("test", 0, range(5))
    parts, right = [], []
    for support, query in tree.unbind((episodes.support, episodes.query)):
        support, query = mc.Batch(*support[:2]), mc.Batch(*query[:2])
        odds = learner.predictor(support, measured=found).predict_proba(query.inputs)
        parts.append(Calibration.of(odds, query.targets))
        right.append(float((odds.argmax(1) == query.targets).double().mean()))
    whole = sum(parts[1:], start=parts[0])
    assert found.accuracy is not None
    assert found.calibrated is not None
    assert found.accuracy.mean == pytest.approx(sum(right) / 5)
    for name in ("ece", "brier", "nll"):
        assert getattr(found.calibrated, name) == pytest.approx(getattr(whole, name), abs=1e-5)
    assert found.protocol.statistics == "frozen"


def test_the_temperature_comes_from_validation_tasks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = type(BLOBS).episodes

    def watched(self: mc.tasks.TaskSource, split: str, step: int, tasks: range) -> mc.Episode:
        seen.append(split)
        return real(self, split, step, tasks)

    monkeypatch.setattr(type(BLOBS), "episodes", watched)
    at: list[list[str]] = []

    def watched_fit(answers: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
        at.append(list(seen))
        return fitted(answers)

    monkeypatch.setattr(sys.modules["metaccord.deploy.measure"], "fitted", watched_fit)
    mc.deploy.measure(conv(), 4, source=BLOBS)
    assert set(at[0]) == {"validation"}
    assert set(seen[len(at[0]) :]) == {"test"}


def test_accuracy_is_that_of_the_frozen_protocol() -> None:
    learner = conv()
    protocol = mc.Protocol(statistics="frozen", tasks=6)
    scores = mc.evaluate(learner.method, learner.objective, learner.state, BLOBS, protocol)
    found = mc.deploy.measure(learner, 6, source=BLOBS)
    assert found.accuracy is not None
    assert found.accuracy == pytest.approx(scores.accuracy, abs=1e-6)


def test_regression_has_an_error_in_the_users_units() -> None:
    learner = sine()
    found = mc.deploy.measure(learner, 4)
    protocol = mc.Protocol(statistics="frozen", tasks=4)
    scores = mc.evaluate(learner.method, learner.objective, learner.state,
                         learner.origin.experiment.tasks, protocol)  # fmt: skip
    assert found.error == pytest.approx(scores.loss.mean**0.5, rel=1e-5)
    assert found.temperature == 1.0
    assert "root mean square" in str(found)


def test_answers_that_are_not_finite_give_no_number() -> None:
    """They would have given an error of NaN, or the temperature at the end of its range."""
    for learner, source in ((sine(), None), (conv(), BLOBS)):
        wild = replace(learner, method=mc.methods.maml(6, 1e20))
        with pytest.raises(NumericalError, match="not finite on a"):
            mc.deploy.measure(wild, 2, source=source)


def test_a_learner_without_run_needs_tasks() -> None:
    with pytest.raises(UsageError, match="source="):
        mc.deploy.measure(conv(), 4)
