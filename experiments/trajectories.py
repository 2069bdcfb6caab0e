"""Flatness, distance and coherence along meta-training: MAML, first-order MAML, fine-tuning.

    python experiments/trajectories.py --out results/trajectories          # minutes; resumable
    python experiments/trajectories.py --out results/trajectories --full

Trains the three methods of Guiroy et al. on Omniglot, 5-way 1-shot, on the same draws, and
measures their checkpoints with `metaccord analyse`, which writes tables and pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path

import torch
from cells import Cell, train

from metaccord.cli.main import main as metaccord

COMMON = ("tasks.queries=5", "rule.steps=5", "rule.lr=0.1", "plan.chunk=1")
CUT = (*COMMON, "steps=600", "keep_every=60", "num_tasks=8", "model.hidden=32")
FULL = (*COMMON, "steps=10000", "keep_every=500", "num_tasks=16")
METHODS = ("maml", "fomaml", "finetune")


def plan(what: str, full: bool, seeds: int) -> list[Cell]:
    """Return the cells: the three methods, one seed unless more are asked for."""
    del what
    size, name = (FULL, "full") if full else (CUT, "cut")
    return [Cell("omniglot", m, size, seed, name) for m in METHODS for seed in range(seeds or 1)]


def main() -> None:
    """Train what is missing, then analyse and keep what it prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full", action="store_true", help="hours instead of minutes")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--curvature-tasks", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs, folders = Path("runs") / "trajectories", []
    for cell in plan("omniglot", given.full, 1):
        line = train(cell, runs, 100)
        print(line["key"], line["scores"]["accuracy"], f"{line['seconds']} s", flush=True)
        folders.append(str(runs / cell.key))
    given.out.mkdir(parents=True, exist_ok=True)
    options = ["--tasks", str(given.tasks), "--curvature-tasks", str(given.curvature_tasks)]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = metaccord(["analyse", *folders, *options, "--out", str(given.out)])
    (given.out / "tables.txt").write_text(told.getvalue())
    print(told.getvalue())
    raise SystemExit(code)


if __name__ == "__main__":
    main()
