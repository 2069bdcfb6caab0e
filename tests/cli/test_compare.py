"""``metaccord compare``: the same episodes for all, paired differences, taken up again."""

from __future__ import annotations

import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.cli import compare as module
from metaccord.cli.compare import paired, summary, trained
from metaccord.errors import UsageError
from tests.cli.support import (
    SET,
    TINY,
    Result,
    copied,
    equal_runs,
    flip,
    last,
    scores_of,
    snapshot,
    train,
)
from tests.cli.test_bad_input import refused

Run = Callable[..., Result]
SMALL = ("--seeds", "2", "--steps", "4", "--tasks", "5", *SET, "tasks.train_shots=4")
METHODS = ("--methods", "maml,reptile+agreement")
COMMAND = ("compare", "sinusoid", *METHODS, "--out", "all", *SMALL)
FOLDERS = [f"{label}/seed-{seed}" for label in ("maml", "reptile-agreement") for seed in (0, 1)]


def scores(losses: list[float], **protocol: Any) -> mc.Scores:
    """Return scores of a regression after step 0 and the last step."""
    column = torch.tensor(losses)
    found = mc.Protocol(tasks=len(losses), **protocol)
    return mc.Scores(found, (0, 1), torch.stack([torch.full_like(column, 9.0), column], 1), None)


def test_the_table_and_no_second_training(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods with different numbers of inner steps are compared; finished runs are kept."""
    first = metaccord(*COMMAND)
    assert first.code == 0, first.err
    assert "loss, 95 % intervals over seeds" in first.out
    assert "minus maml (paired)" in first.out
    assert "protocol: transductive, 5 test tasks, trained steps, seed 0" in first.out
    rows = [line for line in first.out.splitlines() if " ± " in line]
    assert [row.split()[1] for row in rows] == ["maml", "reptile+agreement"]
    assert [row.count("±") for row in rows] == [1, 2]
    runs = (path.parent.relative_to(place / "all") for path in place.rglob("run.json"))
    assert sorted(map(str, runs)) == FOLDERS
    assert all(last(place / "all" / folder).step == 4 for folder in FOLDERS)
    before = snapshot(place)
    monkeypatch.setattr(module, "run", None)
    again = metaccord(*COMMAND)
    assert (again.code, again.out) == (0, first.out)
    assert snapshot(place) == before


def test_a_run_is_the_same_as_trained_alone(metaccord: Run, place: Path) -> None:
    assert metaccord(*COMMAND).code == 0
    settings = ("tasks.train_shots=4", "steps=4", "seed=1")
    train(place / "alone", *settings, base="reptile", extra=("agreement",))
    assert equal_runs(place / "alone", place / "all" / "reptile-agreement" / "seed-1")


def test_a_signal_ends_it_and_the_same_command_goes_on(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metaccord(*COMMAND).code == 0
    shutil.move(place / "all", place / "whole")
    run, begun = mc.run, []

    def disturbed(*given: Any, **named: Any) -> Iterator[mc.Record]:
        begun.append(given[1])
        for record in run(*given, **named):
            yield record
            if len(begun) == 2 and record.step == 2:
                signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(module, "run", disturbed)
        result = metaccord(*COMMAND)
    assert (result.code, result.out) == (143, "")
    assert "interrupted: saved in all; the same command goes on" in result.err
    assert last(place / "all" / FOLDERS[1]).step == 3
    assert len(list((place / "all").rglob("run.json"))) == 2
    assert metaccord(*COMMAND).code == 0
    assert all(equal_runs(place / "all" / f, place / "whole" / f) for f in FOLDERS)


def test_a_run_that_lost_its_end_is_trained_again(metaccord: Run, place: Path) -> None:
    """All records are there, but the last checkpoint is damaged."""
    command = (*COMMAND, "checkpoint_every=2")
    first = metaccord(*command)
    flip(place / "all" / FOLDERS[0] / "checkpoints" / "step-000004" / "state.json")
    again = metaccord(*command)
    assert again.code == 0, again.err
    assert again.out == first.out
    assert "step-000004.corrupt" in again.err
    assert last(place / "all" / FOLDERS[0]).step == 4


def test_runs_against_runs(metaccord: Run, finished: Path, place: Path) -> None:
    """One run each: the interval is over tasks."""
    copied(finished, place / "a")
    train(place / "b", "steps=2", "rule.steps=3", "tasks.train_shots=7", "seed=5")
    result = metaccord("compare a b --tasks 6")
    assert result.code == 0, result.err
    assert "intervals over tasks" in result.out
    assert "minus a (paired)" in result.out
    found = scores_of(metaccord("compare a b --tasks 6 --json").out)
    columns = []
    for name in ("a", "b"):
        learner = mc.load(place / name)
        scored = mc.evaluate(
            learner.method,
            learner.objective,
            learner.state,
            mc.tasks.Sinusoid(shots=4),
            mc.Protocol(tasks=6),
        )
        columns.append(scored.losses[:, -1].double().numpy())
        assert found[name]["mean"]["mean"] == pytest.approx(columns[-1].mean())
    gap = columns[1] - columns[0]
    assert found["a"]["minus_first"] is None
    assert found["b"]["minus_first"] == {
        "mean": pytest.approx(gap.mean(), rel=1e-5),
        "half": pytest.approx(1.96 * gap.std(ddof=1) / math.sqrt(6), rel=1e-5),
    }


def test_runs_on_other_tasks_are_refused(metaccord: Run, finished: Path, place: Path) -> None:
    copied(finished, place / "a")
    train(place / "b", "steps=1", "tasks.shots=5")
    refused(metaccord("compare a b"), 2, ["b was trained for other tasks than a", "shots: 4"])
    assert metaccord("train quadratics --steps 1 --out c --set num_tasks=2").code == 0
    refused(metaccord("compare a c"), 2, ["c was trained for other tasks", "not compared"])


def test_paired_over_seeds_by_hand() -> None:
    """Gaps of the seed means 1, 2 and 6: mean 3, t(2) = 4.3027, deviation sqrt(7)."""
    base = [scores([1.0, 3.0]), scores([0.0, 0.0]), scores([2.0, 2.0])]
    ours = [scores([2.0, 4.0]), scores([1.0, 3.0]), scores([9.0, 7.0])]
    found = paired(ours, base)
    assert found.mean == pytest.approx(3.0)
    assert found.half == pytest.approx(4.3027 * math.sqrt(7) / math.sqrt(3), rel=1e-4)
    table = summary({"first": base, "second": ours})
    assert table["second"]["minus_first"] == found._asdict()
    assert table["second"]["mean"]["mean"] == pytest.approx((3 + 2 + 8) / 3)
    assert table["first"]["minus_first"] is None


def test_paired_over_tasks_by_hand() -> None:
    """Gaps 1, 2, 3, 6, although both columns vary far more."""
    base, ours = scores([10.0, -50.0, 90.0, 0.0]), scores([11.0, -48.0, 93.0, 6.0])
    found = paired([ours], [base])
    assert found.mean == pytest.approx(3.0)
    assert found.half == pytest.approx(1.96 * np.std([1, 2, 3, 6], ddof=1) / 2)


def test_accuracies_come_before_losses() -> None:
    losses, right = torch.ones(3, 1), torch.tensor([[0.0], [0.5], [1.0]])
    one = mc.Scores(mc.Protocol(tasks=3), (1,), losses, right)
    other = mc.Scores(mc.Protocol(tasks=3), (1,), losses, right / 2)
    assert paired([one], [other]).mean == pytest.approx(0.25)


@pytest.mark.parametrize("other", [{"statistics": "frozen"}, {"split": "validation"}, {"seed": 1}])
def test_different_protocols_are_refused(other: dict[str, Any]) -> None:
    base = scores([1.0, 2.0])
    with pytest.raises(UsageError, match="different protocols"):
        paired([scores([1.0, 2.0], **other)], [base])
    with pytest.raises(UsageError, match="different protocols"):
        paired([base, scores([1.0, 2.0], **other)], [base, base])
    with pytest.raises(UsageError, match="different protocols"):
        paired([scores([1.0, 2.0, 3.0])], [base])
    assert paired([scores([1.0, 2.0], steps=3)], [scores([1.0, 2.0], steps=1)]).mean == 0


def test_all_methods_meet_the_same_omniglot_tasks(
    place: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, Reptile's defaults have other query sets and rotations than MAML's."""
    asked: list[mc.Experiment] = []

    def noted(experiment: mc.Experiment, *given: Any, **named: Any) -> Iterator[mc.Record]:
        asked.append(experiment)
        return iter(())

    monkeypatch.setattr(module, "run", noted)
    monkeypatch.setattr(module, "scored", lambda *given: (scores([1.0, 2.0]), 1))
    trained("omniglot", ["maml", "reptile"], 1, [*TINY[2:3]], place / "x", mc.Protocol())
    test = [experiment.tasks.episodes("test", 0, range(2)) for experiment in asked]
    assert torch.equal(test[0].query.inputs, test[1].query.inputs)
    assert torch.equal(test[0].support.inputs, test[1].support.inputs)
    assert [experiment.tasks.train_shots for experiment in asked] == [None, 10]
