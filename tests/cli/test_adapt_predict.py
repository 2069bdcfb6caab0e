"""``metaccord adapt`` and ``metaccord predict``: files in, a model folder and answers out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from tests.bad.rows import Refusals
from tests.cli.support import Result, copied, flip, snapshot
from tests.deploy.support import wave, wave_files

Run = Callable[..., Result]


@pytest.fixture
def files(place: Path, finished: Path) -> Path:
    """A folder with a run, a support set and inputs."""
    copied(finished, place / "run")
    wave_files(place)
    return place


@pytest.fixture
def model(files: Path, metaccord: Run) -> Path:
    """An adapted model in that folder."""
    assert metaccord("adapt run support.npz --out model").code == 0
    return files / "model"


def test_adapt_keeps_what_the_learner_adapts(files: Path, metaccord: Run) -> None:
    result = metaccord("adapt run support.npz --out model --steps 2")
    assert result.code == 0, result
    assert "maml, 2 steps on 5 examples" in result.out
    assert "next: metaccord predict model INPUTS" in result.out
    expected = mc.load("run").predictor(wave(), steps=2)
    found = mc.deploy.load("model")
    assert found.card == expected.card
    assert torch.equal(found.predict(wave(4).inputs), expected.predict(wave(4).inputs))


def test_predict_prints_and_writes(model: Path, metaccord: Run) -> None:
    expected = mc.deploy.load(model).predict(wave(7, 1).inputs)
    result = metaccord("predict model inputs.npz --out answers.csv --picture answers.png "
                       "--support support.npz")  # fmt: skip
    assert result.code == 0, result
    assert result.out == "answers.csv: 7 answers\n"
    printed = metaccord("predict model inputs.npz").out
    assert printed.splitlines()[0] == f"row 0: {float(expected[0]):.6g}"
    lines = Path("answers.csv").read_text().splitlines()
    assert lines[0] == "name,value"
    assert [float(line.split(",")[1]) for line in lines[1:]] == expected.flatten().tolist()
    assert Path("answers.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(metaccord("predict model inputs.npz --json --out answers.json").out)
    assert [row["value"] for row in found["predictions"]] == expected.tolist()
    assert json.loads(Path("answers.json").read_text()) == found["predictions"]


def test_measuring_goes_into_the_card(files: Path, metaccord: Run) -> None:
    result = metaccord("adapt run support.npz --out model --measure 3 --json")
    found = json.loads(result.out)
    assert found["measured"]["protocol"]["tasks"] == 3
    assert found["measured"]["error"] > 0
    assert mc.deploy.load("model").card.measured == found["measured"]


def test_the_run_is_only_read(files: Path, metaccord: Run) -> None:
    before = snapshot(files / "run")
    metaccord("adapt run support.npz --out model")
    assert snapshot(files / "run") == before


def _save(name: str, **arrays: object) -> Callable[[Path], object]:
    return lambda place: np.savez(place / name, **arrays)


def _nothing(place: Path) -> None:
    pass


X, Y = wave().inputs.numpy(), wave().targets.numpy()
ADAPT: dict[str, tuple[Callable[[Path], object], str, int, list[str]]] = {
    "no run": (_nothing, "adapt nowhere support.npz --out m", 2, ["'nowhere'", "no run"]),
    "a model as run": (_nothing, "adapt model support.npz --out m", 2, ["'model'", "no run"]),
    "no support": (_nothing, "adapt run nowhere.npz --out m", 3, ["nowhere.npz"]),
    "a folder as support": (lambda p: (p / "s").mkdir(), "adapt run s --out m", 3, ["s"]),
    "no arrays": (
        lambda p: (p / "s.npz").write_text("hello"), "adapt run s.npz --out m", 3, ["s.npz"]),
    "no targets": (_save("s.npz", X=X), "adapt run s.npz --out m", 3, ["s.npz", "y"]),
    "another shape": (
        _save("s.npz", X=np.ones((5, 2)), y=Y), "adapt run s.npz --out m", 3, ["[5, 2]", "[n, 1]"]),
    "two targets": (
        _save("s.npz", X=X, y=np.ones((5, 2))), "adapt run s.npz --out m", 3, ["[5, 2]"]),
    "ragged": (_save("s.npz", X=X, y=Y[:3]), "adapt run s.npz --out m", 3, ["5 inputs"]),
    "empty": (_save("s.npz", X=X[:0], y=Y[:0]), "adapt run s.npz --out m", 3, ["s.npz"]),
    "a missing value": (
        _save("s.npz", X=X * np.nan, y=Y), "adapt run s.npz --out m", 3, ["row 0", "finite"]),
    "text": (_save("s.npz", X=X, y=Y.astype(str)), "adapt run s.npz --out m", 3, ["text"]),
    "a taken folder": (_nothing, "adapt run support.npz --out model", 2, ["'model' exists"]),
    "a taken file": (_nothing, "adapt run support.npz --out inputs.npz", 2, ["exists"]),
    "no folder possible": (
        _nothing, "adapt run support.npz --out inputs.npz/m", 2, ["inputs.npz", "--out"]),
    "steps below 0": (_nothing, "adapt run support.npz --out m --steps -1", 2, ["--steps is -1"]),
    "one task": (_nothing, "adapt run support.npz --out m --measure 1", 2, ["--measure is 1"]),
    "an odd device": (_nothing, "adapt run support.npz --out m --device tpu", 2, ["'tpu'"]),
    "damaged run": (
        lambda p: [flip(f) for f in (p / "run").rglob("tensors.safetensors")],
        "adapt run support.npz --out m", 4, ["no intact checkpoint"]),
    "diverges": (
        _save("s.npz", X=X, y=Y * 1e29), "adapt run s.npz --out m --steps 5", 5, ["not finite"]),
}  # fmt: skip
PREDICT: dict[str, tuple[Callable[[Path], object], str, int, list[str]]] = {
    "no model": (_nothing, "predict nowhere inputs.npz", 2, ["'nowhere'", "card.json"]),
    "a run as model": (_nothing, "predict run inputs.npz", 2, ["'run'", "metaccord adapt"]),
    "no inputs": (_nothing, "predict model nowhere.npz", 3, ["nowhere.npz"]),
    "no arrays": (
        lambda p: (p / "x.npy").write_text("hello"), "predict model x.npy", 3, ["x.npy"]),
    "an empty folder": (lambda p: (p / "x").mkdir(), "predict model x", 3, ["x"]),
    "no rows": (_save("x.npz", X=X[:0]), "predict model x.npz", 3, ["x.npz"]),
    "another shape": (_save("x.npz", X=np.ones((5, 3))), "predict model x.npz", 3, ["[5, 3]"]),
    "damaged weights": (
        lambda p: flip(p / "model/model.safetensors"), "predict model inputs.npz", 4, ["damaged"]),
    "damaged card": (
        lambda p: flip(p / "model/card.json"), "predict model inputs.npz", 4, ["card.json"]),
    "no weights": (
        lambda p: (p / "model/model.safetensors").unlink(),
        "predict model inputs.npz", 4, ["model.safetensors", "cannot be read"]),
    "a taken file": (
        _nothing, "predict model inputs.npz --out inputs.npz", 2, ["--out", ".csv"]),
    "an existing table": (
        lambda p: (p / "a.csv").write_text("mine"),
        "predict model inputs.npz --out a.csv", 2, ["'a.csv' exists"]),
    "a folder as table": (
        lambda p: (p / "a.csv").mkdir(),
        "predict model inputs.npz --out a.csv", 2, ["'a.csv' exists"]),
    "no folder": (
        _nothing, "predict model inputs.npz --out no/a.csv", 2, ["there is no folder 'no'"]),
    "another kind of picture": (
        _nothing, "predict model inputs.npz --picture a.gif", 2, ["--picture", ".svg"]),
    "support without picture": (
        _nothing, "predict model inputs.npz --support support.npz", 2, ["--picture"]),
    "another support": (
        _save("s.npz", X=X + 1, y=Y),
        "predict model inputs.npz --picture a.png --support s.npz", 3, ["'s.npz' is not the"]),
    "an odd device": (_nothing, "predict model inputs.npz --device tpu", 2, ["'tpu'"]),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [f"adapt, {n}" for n in ADAPT] + [f"predict, {n}" for n in PREDICT]
)
def test_bad_input(name: str, model: Path, files: Path, metaccord: Run) -> None:
    verb, _, row = name.partition(", ")
    harm, words, code, expected = (ADAPT if verb == "adapt" else PREDICT)[row]
    harm(files)
    refusals = Refusals(files)
    if row == "damaged run":  # its checkpoints are put aside
        refusals = Refusals(files / "model")
    refusals.add(metaccord(words), code, expected)


def test_no_table_is_left_where_the_picture_fails(
    model: Path, files: Path, metaccord: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*given: object, **options: object) -> None:
        raise mc.errors.UsageError("no picture of this")

    monkeypatch.setattr("metaccord.plots.predictions.predictions", refusing)
    before = snapshot(files)
    found = metaccord("predict model inputs.npz --out a.csv --picture a.png")
    assert (found.code, found.err) == (2, "error: no picture of this\n")
    assert snapshot(files) == before


def test_runs_without_coding_say_so(place: Path, metaccord: Run) -> None:
    from metaccord.defaults import default

    experiment = default("quadratics").changed(["steps=1", "num_tasks=2", "plan.chunk=all"])
    list(mc.run(experiment, place / "bowls"))
    wave_files(place)
    result = metaccord("adapt bowls support.npz --out m")
    assert result.code == 2
    assert "no coding" in result.errors[0]
