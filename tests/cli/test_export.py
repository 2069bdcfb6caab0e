"""``metaccord export``: of an adapted model and of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord.deploy.formats import FACTS
from tests.bad.rows import Refusals
from tests.cli.support import Result, copied, flip
from tests.deploy.support import wave, wave_files

Run = Callable[..., Result]


@pytest.fixture
def files(place: Path, finished: Path, metaccord: Run) -> Path:
    """A folder with a run, a support set, inputs and an adapted model."""
    copied(finished, place / "run")
    wave_files(place)
    assert metaccord("adapt run support.npz --out model").code == 0
    return place


def test_model_and_adaptation(files: Path, metaccord: Run) -> None:
    """The program of the run, given the support set, answers as the adapted model does."""
    result = metaccord("export model --out model.pt2")
    assert (result.code, result.err) == (0, "")
    assert "the adapted model" in result.out
    result = metaccord("export run --out run.pt2")
    assert (result.code, result.err) == (0, "")
    assert "the adaptation" in result.out
    x, support = wave(7, 1).inputs, wave()
    expected = mc.deploy.load("model").predict(x)
    model, run = (torch.export.load(name).module() for name in ("model.pt2", "run.pt2"))
    torch.testing.assert_close(model(x), expected, rtol=1e-6, atol=1e-6)
    answer = run(support.inputs, support.targets, x)
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)
    extra = {FACTS: ""}
    torch.export.load("run.pt2", extra_files=extra)
    assert json.loads(extra[FACTS])["coding"]["class"] == "ArrayCoding"


BAD: dict[str, tuple[str, int, list[str]]] = {
    "nothing there": ("export nowhere --out m.pt2", 2, ["'nowhere'", "no run"]),
    "another format": ("export model --out m.pt2 --to tflite", 2, ["'tflite'", "onnx"]),
    "another ending": ("export model --out m.pt", 2, ["--out", ".pt2"]),
    "the other ending": ("export model --out m.pt2 --to onnx", 2, ["--out", ".onnx"]),
    "a taken file": ("export model --out taken.pt2", 2, ["'taken.pt2' exists"]),
    "no folder": ("export model --out no/m.pt2", 2, ["no folder 'no'"]),
    "support for a model": ("export model --out m.pt2 --support support.npz", 2, ["--support"]),
    "steps for a model": ("export model --out m.pt2 --steps 2", 2, ["--steps"]),
    "steps below 0": ("export run --out m.pt2 --steps -1", 2, ["--steps is -1"]),
    "too many steps": ("export run --out m.pt2 --steps 5000", 2, ["--steps is 5000"]),
    "no support": ("export run --out m.pt2 --support nowhere.npz", 3, ["nowhere.npz"]),
    "a damaged model": ("export damaged --out m.pt2", 4, ["damaged"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, files: Path, metaccord: Run) -> None:
    (files / "taken.pt2").write_text("mine")
    copied(files / "model", files / "damaged")
    flip(files / "damaged" / "model.safetensors")
    refusals = Refusals(files)
    refusals.add(metaccord(BAD[name][0]), *BAD[name][1:])
