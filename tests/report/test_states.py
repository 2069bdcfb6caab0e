"""Reports on runs of which little is left, that failed, or that are put side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import metaccord as mc
from metaccord.cli.main import main
from metaccord.rundir import RunDirectory
from tests.cli.support import Result, call, flip, snapshot, tiny


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]):
    return lambda *words: call(capsys, "report", *words)


@pytest.fixture
def copy(waves: Path, tmp_path: Path) -> Path:
    """A run without anything that a report left."""
    target = Path(shutil.copytree(waves, tmp_path / "copy"))
    shutil.rmtree(target / "report")
    (target / "report.html").unlink()
    return target


def text(result: Result, parsed) -> str:
    assert result.code == 0, result.err
    page = parsed(Path(result.out.strip()).read_text())
    assert page.problems == []
    return page.text


def test_what_happened_stands_on_top(waves, parsed) -> None:
    found = parsed((waves / "report.html").read_text()).text
    assert "MAML + Gradient Agreement was meta-trained on sine waves (4 examples per task)" in found
    assert "for 6 meta-steps of 2 tasks" in found
    assert "on 12 unseen tasks in 1 gradient step (transductive, 95 % intervals" in found
    assert "finn2017model" in found


def test_records_alone_are_enough(copy, report, parsed) -> None:
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    found = text(report(copy), parsed)
    assert "There is no checkpoint" in found
    assert "nothing was measured on unseen tasks" in found
    assert "Training loss" in found
    assert "Weights of the tasks" in found


def test_quick_computes_nothing(copy, report, parsed) -> None:
    found = text(report(copy, "--quick"), parsed)
    assert "Made with --quick" in found
    assert not (copy / "report").exists()


def test_an_unfinished_run(copy, report, parsed) -> None:
    with RunDirectory.open(copy) as folder:
        folder.cut(3)
    found = text(report(copy, "--quick"), parsed)
    assert "The run is not finished: 3 of 6 meta-steps." in found


def test_a_failure_is_told_and_its_message_escaped(copy, report, parsed) -> None:
    with RunDirectory.open(copy) as folder:
        folder.write_failure({"step": 4, "error": "NumericalError", "message": "<b>lost</b>"})
    found = text(report(copy, "--quick"), parsed)
    assert "ended with a failure after meta-step 4: NumericalError: <b>lost</b>" in found


def test_a_run_without_a_record(copy, report, parsed) -> None:
    (copy / "records.jsonl").write_bytes(b"")
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    assert "no record of a meta-step" in text(report(copy, "--quick"), parsed)


def test_damaged_parts_are_computed_anew_or_left_out(waves, tmp_path, report, parsed) -> None:
    copy = Path(shutil.copytree(waves, tmp_path / "waves"))
    flip(copy / "report" / "scores.json")
    (copy / "scores").mkdir()
    for name, words in (("x", "{"), ("y", "[1]"), ("z", '{"protocol": 1, "loss": 2}')):
        (copy / "scores" / f"{name}.json").write_text(words)
    (copy / "analysis.json").write_text("{}")
    result = report(copy, "--tasks", "12")
    found = text(result, parsed)
    assert "damaged" in result.err
    for name in "xyz":
        assert f"scores/{name}.json is damaged and left out" in found
    scores = (copy / "report" / "scores.json").read_bytes()
    assert scores == (waves / "report" / "scores.json").read_bytes()


def test_kept_results_are_listed_with_their_protocol(copy, report, parsed) -> None:
    assert main(["evaluate", str(copy), "--tasks", "5"]) == 0
    assert main(["evaluate", str(copy), "--tasks", "5", "--protocol", "frozen"]) == 0
    found = text(report(copy, "--quick"), parsed)
    assert "test-transductive-1-steps-5-tasks.json" in found
    assert "test-frozen-1-steps-5-tasks.json" in found
    assert "rows with different hashes differ in kind" in found


@pytest.mark.parametrize("method", ["reptile", "maml+sharing", "maml+coherent", "imaml"])
def test_every_kind_of_method(method, tmp_path, report, parsed) -> None:
    base, *extra = method.split("+")
    for _ in mc.run(tiny("steps=2", base=base, extra=tuple(extra)), tmp_path / "run"):
        pass
    result = report(tmp_path / "run", "--tasks", "4")
    found = text(result, parsed)
    assert "How the tasks relate" in found
    assert "Along the training" in found
    assert "failed" not in found


def test_quadratics(tmp_path, report, parsed) -> None:
    words = ["train", "quadratics", "--steps", "2", "--out", str(tmp_path / "run")]
    assert main([*words, "--set", "plan.chunk=all", "num_tasks=2"]) == 0
    found = text(report(tmp_path / "run", "--tasks", "4"), parsed)
    assert "Loss of single tasks" in found
    assert "bowl 0" in found
    assert "the query sets cannot be halved" in found


def test_methods_and_seeds_side_by_side(waves, tmp_path, report, parsed) -> None:
    """Seeds stand together, methods are compared in pairs, the order of the words is kept."""
    folders = [waves]
    for name, seed, extra in (("b", 1, ("agreement",)), ("c", 0, ()), ("d", 1, ())):
        settings = ("steps=6", "checkpoint_every=3", "validate_every=2", "validation_tasks=4")
        for _ in mc.run(tiny(*settings, f"seed={seed}", extra=extra), tmp_path / name):
            pass
        folders.append(tmp_path / name)
    out = tmp_path / "all.html"
    found = text(report(*folders, "--out", out, "--tasks", "12"), parsed)
    assert "MAML + Gradient Agreement and MAML on sine waves" in found
    assert "with 2 seeds each" in found
    assert "MAML minus MAML + Gradient Agreement" in found
    assert "intervals over 2 seeds" in found
    assert "not compared" not in found.lower()
    few = text(report(*folders[:3], "--out", out, "--tasks", "12"), parsed)
    assert "numbers of seeds differ" in few


def test_methods_with_other_inner_steps_are_told_apart(waves, tmp_path, report, parsed) -> None:
    """What is said of one method is not said of all."""
    made = tiny("steps=4", "num_tasks=3", "rule.steps=2", base="reptile")
    for _ in mc.run(made, tmp_path / "b"):
        pass
    found = text(
        report(waves, tmp_path / "b", "--tasks", "12", "--out", tmp_path / "x.html"), parsed
    )
    first, second = "MAML + Gradient Agreement", "Reptile"
    assert "for 4 to 6 meta-steps of 2 to 3 tasks" in found
    assert f"{first} was trained with 1 inner step; more" in found
    assert f"{second} was trained with 2 inner steps; more" in found
    each = "12 unseen tasks, each adapted alone with"
    assert f"{first}: {each} 1 inner step; {second}: {each} 2 inner steps, at the" in found
    assert found.count("hash of the protocol") == 2
    assert "unless the inner steps alone differ" in found


def test_a_seed_without_a_record_beside_another(tmp_path, report, parsed) -> None:
    for seed in (0, 1):
        for _ in mc.run(tiny("steps=2", f"seed={seed}"), tmp_path / f"{seed}"):
            pass
    (tmp_path / "0" / "records.jsonl").write_bytes(b"")
    shutil.rmtree(tmp_path / "0" / "checkpoints")
    (tmp_path / "0" / "checkpoints").mkdir()
    found = text(report(tmp_path / "0", tmp_path / "1", "--quick"), parsed)
    assert "for 0 to 2 meta-steps" in found
    assert "Training loss" in found


def test_the_same_training_twice_is_no_second_seed(waves, copy, report) -> None:
    result = report(waves, copy, "--quick", "--out", copy / "x.html")
    assert (result.code, "needs different ones, leave one" in result.err) == (2, True)


def test_without_results_nothing_is_compared(copy, tmp_path, report, parsed) -> None:
    for _ in mc.run(tiny("steps=6"), tmp_path / "c"):
        pass
    found = text(report(copy, tmp_path / "c", "--quick"), parsed)
    assert "Not compared: there are no results under one protocol" in found


def test_a_folder_that_cannot_be_written_is_no_obstacle(copy, tmp_path, report, parsed) -> None:
    (copy / "report").write_text("in the way")
    result = report(copy, "--out", tmp_path / "here.html", "--tasks", "4")
    assert "Unseen tasks" in text(result, parsed)
    assert "is not kept for the next report" in result.err


BAD = {
    "none": ([], 2, ["needs the folder of a run"]),
    "missing": (["nowhere"], 2, ["nowhere", "holds no run"]),
    "tasks": (["{run}", "--tasks", "1"], 2, ["protocol.tasks is 1"]),
    "protocol": (["{run}", "--protocol", "transductiv"], 2, ["did you mean 'transductive'?"]),
    "out is a folder": (["{run}", "--out", "{run}", "--quick"], 2, ["is a folder"]),
    "out below a file": (["{run}", "--out", "{run}/run.json/x.html", "--quick"], 2, ["--out"]),
    "other tasks": (["{run}", "{other}", "--quick"], 2, ["was trained for other tasks"]),
    "weights alone": (["{weights}"], 2, ["holds no training"]),
    "damaged": (["{damaged}"], 4, ["run.json", "damaged"]),
    "no records": (["{silent}"], 4, ["records.jsonl"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message(name, waves, tmp_path, report) -> None:
    words, code, needles = BAD[name]
    places = {"run": waves, "other": tmp_path / "other", "weights": tmp_path / "weights"}
    if name == "other tasks":
        for _ in mc.run(tiny("steps=1", "tasks.amplitude=[1,2]"), places["other"]):
            pass
    if name == "weights alone":
        learner = mc.load(waves)
        mc.save(places["weights"], learner.method, learner.objective, learner.state)
    for key, file in (("damaged", "run.json"), ("silent", "records.jsonl")):
        if f"{{{key}}}" in words:
            places[key] = Path(shutil.copytree(waves, tmp_path / key))
            flip(places[key] / file) if key == "damaged" else (places[key] / file).unlink()
    before = snapshot(waves)
    result = report(*(word.format(**places) for word in words))
    assert result.code == code, result
    assert len(result.errors) == 1, result.err
    assert all(needle in result.errors[0] for needle in needles), result.errors
    assert result.out == ""
    assert snapshot(waves) == before
