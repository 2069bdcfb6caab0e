"""What a user's own tasks, models and criteria do wrong is said on one line, before or at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.errors import DataError, NumericalError, UsageError
from metaccord.methods import maml
from metaccord.tasks import Quadratics, Sinusoid
from metaccord.tasks.checks import checked
from tests.bad import sources
from tests.cli.support import MOST_SECONDS
from tests.refusals import refusal

STEPS = 2


def untrained(words: list[str], objective: mc.Objective, source: object) -> None:
    """Refused soon, whatever the kind of error."""
    began = time.process_time()
    with refusal(words, UsageError, DataError, NumericalError):
        list(mc.train(maml(), objective, source, steps=STEPS, num_tasks=2))
    assert time.process_time() - began < MOST_SECONDS


def objective_of(name: str) -> mc.Objective:
    build, criterion, _ = sources.MODELS[name]
    return mc.Objective(build(), criterion, mc.Plan(chunk="all"))


@pytest.mark.parametrize("name", sources.MODELS)
def test_models_and_criteria(name: str) -> None:
    began, words = time.process_time(), sources.MODELS[name][2]
    try:
        objective = objective_of(name)
    except UsageError as error:
        assert [word for word in words if word not in str(error)] == []
        assert time.process_time() - began < MOST_SECONDS
        return
    untrained(words, objective, sources.Source())


@pytest.mark.parametrize("name", sources.VALUES)
def test_what_tasks_hold(name: str) -> None:
    change, words = sources.VALUES[name]
    objective = mc.Objective(sources.line(), sources.mean, mc.Plan(chunk="all"))
    untrained(words, objective, sources.Source(change=change))


@pytest.mark.parametrize("name", sources.FORMS)
def test_the_form_of_episodes(name: str) -> None:
    change, words = sources.FORMS[name]
    with refusal([*words, "Source.episodes('train', 0, "], DataError):
        checked(sources.Source(change=change), "train", 0, range(2))


@pytest.mark.parametrize("source", [sources.Source(), Sinusoid(), Quadratics()])
def test_good_sources_pass(source: mc.TaskSource) -> None:
    found = checked(source, "train", 3, range(4, 6))
    plain = source.episodes("train", 3, range(4, 6))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            *(torch.utils._pytree.tree_leaves(tuple(e)) for e in (found, plain)), strict=True
        )
    )


def _noisy(episode: mc.Episode, step: int) -> mc.Episode:
    noise = torch.randn_like(episode.support.targets)
    return episode._replace(support=episode.support._replace(targets=noise))


def test_a_source_that_draws_from_the_global_generator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains with a warning in memory; a run with files, which must resume, refuses it."""
    objective = mc.Objective(sources.line(), sources.mean, mc.Plan(chunk="all"))
    for change, warnings in ((_noisy, 1), (sources.Source().change, 0)):
        caplog.clear()
        source = sources.Source(change=change)
        with caplog.at_level("WARNING", "metaccord"):
            list(mc.train(maml(), objective, source, steps=1, num_tasks=2))
        assert sum("asked for twice" in r.message for r in caplog.records) == warnings
    trial = default("sinusoid").changed(["steps=1", "model.hidden=[4]"])
    episodes = Sinusoid.episodes
    monkeypatch.setattr(Sinusoid, "episodes", lambda *given: _noisy(episodes(*given), 0))
    with pytest.raises(DataError, match="asked for twice"):
        list(mc.run(trial, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
