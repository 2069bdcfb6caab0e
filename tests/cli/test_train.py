"""``metaccord train``: what it writes and says, and that going on loses not a bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import metaccord as mc
from metaccord import tuning, watch
from metaccord.engine import Plan
from metaccord.rundir import RunDirectory
from tests import cases
from tests.cli.support import (
    SET,
    Result,
    copied,
    equal_runs,
    last,
    records,
    snapshot,
    tiny,
    train,
)

Run = Callable[..., Result]
METHODS = {  # the words of the command, and settings
    "maml": (["--method", "maml"], []),
    "fomaml": (["--method", "fomaml"], ["rule.steps=2"]),
    "reptile, sgd": (["--method", "reptile"], ["tasks.train_shots=12", "rule.batch=5"]),
    "reptile, adam": (
        ["--method", "reptile"],
        ["rule.class=Adam", "rule.persist=true", "rule.beta1=0.5", "tasks.train_shots=12"],
    ),
}
MEASURED = ("validate_every=2", "validation_tasks=2", "checkpoint_every=3")


def words(name: str, agreement: bool) -> list[str]:
    """Return a command without ``--out``."""
    method, settings = METHODS[name]
    together = ["--with", "agreement"] if agreement else []
    return ["train", "sinusoid", "--steps", "8", *method, *together, *SET, *settings, *MEASURED]


def stopping(after: int) -> Callable[[], bool]:
    """Return a question that is answered with yes when asked for the ``after``-th time."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= after


def test_what_a_run_writes(metaccord: Run, finished: Path, place: Path) -> None:
    result = metaccord("train", "sinusoid", "--out", "run", "--steps", "4", *SET)
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-2].startswith("maml on sinusoid: step 4/4 loss ")
    assert result.err.splitlines()[-1] == "saved run at step 4; next: metaccord evaluate run"
    assert set(snapshot(place / "run")) == {
        "run.json",
        "records.jsonl",
        "checkpoints",
        "checkpoints/step-000004",
        *(f"checkpoints/step-000004/{name}" for name in
          ("manifest.json", "state.json", "tensors.safetensors")),
    }  # fmt: skip
    config = RunDirectory.read(place / "run").config
    assert mc.Experiment.from_tree(config["experiment"]) == tiny("steps=4")
    assert config["versions"]["torch"] == torch.__version__
    assert config["versions"]["metaccord"] == mc.__version__
    found = RunDirectory.read(place / "run").records()
    assert [record["step"] for record in found] == [1, 2, 3, 4]
    assert found[0].keys() == {"step", "seconds", "query_loss", "support_loss", "grad_norm"}
    assert records(place / "run") == records(finished)
    assert set(last(place / "run").tensors) >= {
        "params.model.head.weight",
        "slots.model.head.weight/exp_avg",
    }


def test_the_default_folder(metaccord: Run, place: Path) -> None:
    command = ("train", "sinusoid", "--method", "reptile", "--with", "agreement", "--seed", "7")
    result = metaccord(*command, "--steps", "1", *SET)
    assert result.code == 0
    folder = place / "runs" / "sinusoid-reptile+agreement-7"
    assert len(records(folder)[0]["agreement.weights"]) == 2
    assert metaccord(*command, *SET).errors == [
        "error: 'runs/sinusoid-reptile+agreement-7' already holds a run: go on with --resume or "
        "choose another --out"
    ]


def test_json_lines_are_the_records(metaccord: Run, place: Path) -> None:
    result = metaccord("train", "sinusoid", "--out", "run", "--json", "--steps", "3", *SET)
    assert [json.loads(line) for line in result.out.splitlines()] == RunDirectory.read(
        place / "run"
    ).records()
    assert result.err == "saved run at step 3; next: metaccord evaluate run\n"


def test_a_log_gets_plain_lines(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaccord.cli.progress.EVERY", 0.0)
    result = metaccord("train", "sinusoid", "--out", "run", "--steps", "3", *SET)
    lines = result.err.splitlines()
    assert [line.split(" loss ")[0] for line in lines[:3]] == [
        f"maml on sinusoid: step {step}/3" for step in (1, 2, 3)
    ]
    assert "\x1b" not in result.err
    assert "\r" not in result.err


def test_a_terminal_gets_a_bar(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    result = metaccord("train", "sinusoid", "--out", "run", "--steps", "3", *SET)
    assert result.code == 0
    assert "saved run at step 3" in result.err
    assert "\r" in result.err
    assert "3/3" in result.err
    assert "step 3/3" not in result.err
    assert len(records(place / "run")) == 3


@pytest.mark.parametrize("agreement", [False, True], ids=["alone", "agreement"])
@pytest.mark.parametrize("name", METHODS)
def test_stopped_twice_and_resumed_the_same_bits(
    name: str, agreement: bool, metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors, optimiser, records, the best step, the watch; stopped, or killed."""
    monkeypatch.setattr(watch, "_PATIENCE", 5)
    monkeypatch.setattr(watch, "LIMIT", 1e-9)
    command = words(name, agreement)
    assert metaccord(*command, "--out", "whole").code == 0
    whole = place / "whole"
    experiment = mc.Experiment.from_tree(RunDirectory.read(whole).config["experiment"])
    for _ in mc.run(experiment, place / "parts", stop=stopping(3)):
        pass
    assert last(place / "parts").step == 3
    for _ in mc.run(experiment, place / "parts", resume=True, stop=stopping(4)):
        pass  # steps 4 to 7
    lost = copied(place / "parts", place / "lost")
    for file in (lost / "checkpoints" / "step-000007").iterdir():
        file.unlink()
    (lost / "checkpoints" / "step-000007").rmdir()
    for folder in ("parts", "lost"):
        result = metaccord("train", "sinusoid", "--out", folder, "--resume")
        assert result.code == 0, result.err
        assert equal_runs(place / folder, whole)
    assert (last(whole).state["watch"]["seen"] == 5) == agreement
    assert [r["step"] for r in records(whole) if "warning" in r] == ([5] if agreement else [])
    measured = [record for record in records(whole) if "validation" in record]
    best = min((record["validation"]["loss"]["mean"], record["step"]) for record in measured)
    assert [record["step"] for record in measured] == [2, 4, 6, 8]
    assert last(whole).state["best"] == {"loss": best[0], "step": best[1]}
    assert last(whole, best[1]).step == best[1], "the best checkpoint is kept"


def test_the_comparison_above_would_notice(place: Path) -> None:
    train(place / "one", "steps=4")
    train(place / "other", "steps=4", "seed=1")
    train(place / "longer", "steps=5")
    train(place / "again", "steps=4")
    assert equal_runs(place / "one", place / "again")
    assert not equal_runs(place / "one", place / "other")
    assert not equal_runs(place / "one", place / "longer")


def test_more_steps_are_the_same_run_longer(metaccord: Run, finished: Path, place: Path) -> None:
    folder = copied(finished, place / "run")
    result = metaccord("train sinusoid --resume --out run --steps 9")
    assert "step 9/9" in result.err
    train(place / "whole", "steps=9", "checkpoint_every=2")
    assert equal_runs(folder, place / "whole")


def test_more_steps_keep_the_horizon_of_the_schedule(metaccord: Run, place: Path) -> None:
    """Reptile's step size has come down to 0 after the first horizon."""
    command = ("train", "sinusoid", "--method", "reptile", "--out", "run", "--steps", "3", *SET)
    assert metaccord(*command, "tasks.train_shots=4").code == 0
    before = last(place / "run")
    assert metaccord("train sinusoid --resume --out run --steps 5").code == 0
    after = last(place / "run")
    assert (before.step, after.step) == (3, 5)
    assert cases.same_bits(before.tensors, after.tensors)
    config = RunDirectory.read(place / "run").config
    assert config["experiment"]["outer"]["horizon"] == 3


def test_a_measured_plan_is_stored_and_used_again(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation, too, goes by the stored plan; otherwise its last bits might differ."""
    experiment = tiny(*MEASURED, "steps=6", "plan.chunk=auto", "num_tasks=4")
    asked: list[Any] = []

    def measured(method: mc.Method, objective: mc.Objective, *rest: Any) -> tuning.Measured:
        asked.append(objective.plan.chunk)
        return tuning.Measured(0.0 if objective.plan.chunk == 2 else 1.0, 1)

    monkeypatch.setattr(tuning, "measure", measured)
    used: list[Plan] = []
    evaluate = mc.evaluate

    def watched(method: mc.Method, objective: mc.Objective, *rest: Any) -> mc.Scores:
        used.append(objective.plan)
        return evaluate(method, objective, *rest)

    monkeypatch.setattr("metaccord.book.evaluate", watched)
    for _ in mc.run(experiment, place / "whole"):
        pass
    for _ in mc.run(experiment, place / "run", stop=stopping(3)):
        pass
    assert last(place / "run").state["plan"]["chunk"] == 2
    assert asked == [1, 2, 4, 1, 2, 4]
    monkeypatch.setattr(tuning, "measure", None)
    assert metaccord("train sinusoid --resume --out run").code == 0
    assert equal_runs(place / "run", place / "whole")
    assert {plan.chunk for plan in used} == {2}


def test_resuming_elsewhere_is_said(
    metaccord: Run, place: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(finished, place / "run")
    monkeypatch.setattr("metaccord.stored.__version__", "9.9")
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    result = metaccord("train sinusoid --resume --out run --steps 5")
    assert result.code == 0
    assert "not exact to the bit: metaccord: '0.1.0' in the run, '9.9' now" in result.err
    assert "with 3 threads instead of 1: equal to rounding" in result.err
