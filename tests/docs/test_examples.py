"""The examples run, are short, and show something."""

from __future__ import annotations

import ast
import logging
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.docs.documents import ROOT

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NAMES = {"sine", "omniglot", "own_folder", "sensors", "graph_nodes", "small_transformer"}


def test_there_are_six() -> None:
    assert {path.stem for path in SCRIPTS} == NAMES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::UserWarning:torch")
@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a few meta-steps, in a folder of its own, with a picture at its end."""
    if path.stem == "omniglot" and not os.environ.get("METACCORD_DATA"):
        pytest.skip("needs METACCORD_DATA")
    if path.stem == "small_transformer":
        pytest.importorskip("transformers", reason="needs transformers")
    lines = path.read_text().splitlines()
    assert len(lines) <= 80
    assert ast.get_docstring(ast.parse(path.read_text()), clean=True)
    words = [
        "--steps",
        "2",
        *(["--out", str(tmp_path / "out")] if "--out" in path.read_text() else []),
    ]
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.get_fignums())))
    before, kept, level = torch.get_rng_state(), torch.get_num_threads(), logging.getLogger().level
    torch.set_num_threads(1)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        plt.close("all")
        torch.set_num_threads(kept)
        torch.set_rng_state(before)
        logging.getLogger().setLevel(level)
    assert shown == [1]
    assert not [p for p in tmp_path.iterdir() if p.name != "out"]
