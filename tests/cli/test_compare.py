"""``metaccord compare``: the same episodes for all, paired differences, taken up again."""

from __future__ import annotations

import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord.cli import compare as module
from metaccord.cli.compare import trained
from metaccord.cli.tables import summary
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
    where = mc.EpisodeSet(
        "Sinusoid", (("shots", 4),), found.split, found.seed, found.tasks, "d" * 64
    )
    curve = torch.stack([torch.full_like(column, 9.0), column], 1)
    return mc.Scores(found, (0, 1), curve, None, where)


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
    assert [row.count("±") for row in rows] == [1, 3]
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


def test_files_of_scores_and_runs_of_other_tasks(
    metaccord: Run, finished: Path, place: Path
) -> None:
    """Compared only when asked for; then every line that holds a number says so."""
    copied(finished, place / "a")
    train(place / "b", "steps=1", "tasks.shots=5")
    for command in ("a --tasks 6", "a --tasks 6 --protocol frozen", "a --tasks 7", "b --tasks 6"):
        assert metaccord(f"evaluate {command}").code == 0
    name = "a/scores/test-{}-1-steps-{}-tasks.json".format
    one, frozen, more = name("transductive", 6), name("frozen", 6), name("transductive", 7)
    (place / "same.json").write_bytes((place / one).read_bytes())
    assert "minus" in metaccord(f"compare {one} same.json").out
    for other, word in ((frozen, "statistics: frozen or transductive"), (more, "tasks: 7 or 6")):
        refused(metaccord(f"compare {one} {other}"), 2, [word, "--across-protocols"])
    result = metaccord(f"compare {one} {frozen} {more} --across-protocols")
    assert result.code == 0, result.err
    for line in result.out.splitlines():
        if "±" in line or "test tasks, 1 steps" in line or "95 %" in line or "Holm" in line:
            assert "[different" in line, line
    refused(metaccord("compare a b --tasks 6"), 2, ["b was trained for other tasks than a"])
    result = metaccord("compare a b --tasks 6 --across-protocols --json")
    found = scores_of(result.out)["b"]["comparison"]
    assert (found["paired"], found["differs"]) == (False, ["shots: 5 or 4"])
    assert found["difference"]["half"] > 0
    refused(metaccord(f"compare {one} a --tasks 6"), 2, ["says how it was measured"])
    refused(metaccord("compare a a"), 2, ["'a' is given twice"])
    refused(metaccord("compare a a/run.json"), 3, ["run.json' holds no scores"])
    refused(metaccord("compare a nowhere.json"), 2, ["'nowhere.json' holds no run"])
    refused(metaccord("compare sinusoid --across-protocols"), 2, ["is for finished runs"])
    refused(metaccord("compare sinusoid --grid --across-protocols"), 2, ["a grid has one protocol"])


def test_a_folder_of_other_runs_is_no_method(metaccord: Run, finished: Path, place: Path) -> None:
    """Runs of two methods, or one run twice, would have passed for seeds."""
    copied(finished, place / "one" / "a")
    copied(finished, place / "two" / "a")
    copied(finished, place / "two" / "b")
    train(place / "one" / "b", "steps=1", "seed=1", base="reptile")
    refused(metaccord("compare one two"), 2, ["is no other seed of one/a", "one by one"])
    refused(metaccord("compare two one/b"), 2, ["two/b has the seed of two/a", "different ones"])


def test_a_folder_of_seeds_is_one_method(metaccord: Run, place: Path) -> None:
    assert metaccord(*COMMAND).code == 0
    result = metaccord("compare all/maml all/reptile-agreement --tasks 5 --json")
    assert result.code == 0, result.err
    again = scores_of(metaccord(*COMMAND, "--json").out)
    found = scores_of(result.out)["all/reptile-agreement"]
    assert found["minus_first"] == again["reptile+agreement"]["minus_first"]
    assert found["comparison"]["seeds"] == 2
    assert found["comparison"]["anew"]["half"] >= found["minus_first"]["half"]


def test_runs_on_other_tasks_are_refused(metaccord: Run, finished: Path, place: Path) -> None:
    copied(finished, place / "a")
    train(place / "b", "steps=1", "tasks.shots=5")
    refused(metaccord("compare a b"), 2, ["b was trained for other tasks than a", "shots: 4"])
    assert metaccord("train quadratics --steps 1 --out c --set num_tasks=2").code == 0
    refused(metaccord("compare a c"), 2, ["c was trained for other tasks", "not compared"])


def test_the_summary_by_hand() -> None:
    """Gaps of the seed means 1, 2 and 6."""
    base = [scores([1.0, 3.0]), scores([0.0, 0.0]), scores([2.0, 2.0])]
    ours = [scores([2.0, 4.0]), scores([1.0, 3.0]), scores([9.0, 7.0])]
    found = mc.compare(ours, base)
    table = summary({"first": base, "second": ours})
    assert table["second"]["minus_first"] == found.difference._asdict()
    assert table["second"]["mean"]["mean"] == pytest.approx((3 + 2 + 8) / 3)
    assert table["second"]["comparison"]["names"] == ("second", "first")
    assert table["first"]["minus_first"] is None


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
