"""``metaccord evaluate``."""

from __future__ import annotations

import json as jsonlib
import math
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from metaccord.cli.options import Number, Run, Switch
from metaccord.evaluate import evaluate as measure
from metaccord.method import caution
from metaccord.protocol import Protocol
from metaccord.scores import Scores
from metaccord.stored import load_state


def evaluate(
    run: Run,
    *,
    protocol: str = "transductive",
    tasks: int = 600,
    steps: Number = None,
    split: str = "test",
    branch: str = "model",
    permutations: int = 1,
    json: Switch = False,
) -> int:
    """Measure a run on isolated, unseen tasks.

    Args:
        run: Folder of the run.
        protocol: transductive, inductive or frozen: what batch normalisation sees.
        tasks: Number of tasks.
        steps: Inner steps (default: as trained).
        split: test or validation.
        branch: model, or colearner: the answers of the co-learner of CML (CML-dagger).
        permutations: Orders of the labels over which a classifier's answers are averaged; each
            costs one more adaptation of every task.
        json: Print one JSON object.
    """
    how = Protocol(
        statistics=protocol,  # type: ignore[arg-type]
        tasks=tasks,
        steps=steps,
        split=split,
        branch=branch,  # type: ignore[arg-type]
        permutations=permutations,
    )
    scores, at = scored(run, how)
    if json:
        print(jsonlib.dumps(finite(scores.json())))
        return 0
    print(f"{run} at step {at}: {scores}")
    print("after each inner step, 95 % intervals over tasks:")
    Console().print(by_step(scores))
    for line in remarks(scores):
        print(line)
    return 0


def scored(run: Path, protocol: Protocol) -> tuple[Scores, int]:
    """Return the scores of a run's newest checkpoint and its step, and keep them in the folder.

    Args:
        run: Folder of the run; the scores go to ``scores/``.
        protocol: How to measure.
    """
    experiment, state, _ = load_state(run)
    caution(experiment.method)
    every = protocol.steps if protocol.steps is not None else experiment.method.rule.steps
    at = tuple(range(min(every, 10) + 1))
    scores = measure(
        experiment.method, experiment.objective(), state, experiment.tasks, protocol, at=at
    )
    scores.write(run / "scores" / file_name(scores.protocol), step=state.step)
    return scores, state.step


def file_name(protocol: Protocol) -> str:
    """Return the name of the file that keeps the scores of a protocol, its steps filled in."""
    name = f"{protocol.split}-{protocol.statistics}-{protocol.steps}-steps-{protocol.tasks}-tasks"
    name += f"-seed-{protocol.seed}" if protocol.seed else ""
    name += f"-{protocol.branch}" if protocol.branch != "model" else ""
    orders = f"-{protocol.permutations}-permutations" if protocol.permutations > 1 else ""
    return f"{name}{orders}.json"


def by_step(scores: Scores) -> Table:
    """Return the numbers after each inner step as a table."""
    rows, table = scores.rows, Table(box=SIMPLE)
    shares = [row.accuracy for row in rows if row.accuracy is not None]
    columns = {
        "inner steps": [str(row.steps) for row in rows],
        "accuracy, %": [f"{100 * one.mean:.2f} ± {100 * one.half:.2f}" for one in shares],
        "loss": [str(row.loss) for row in rows],
        "ECE, %": [f"{100 * row.ece:.2f}" for row in rows if row.ece is not None],
    }
    known = {head: cells for head, cells in columns.items() if cells}
    for head in known:
        table.add_column(head, justify="right")
    for line in zip(*known.values(), strict=True):
        table.add_row(*line)
    return table


def remarks(scores: Scores) -> list[str]:
    """Return what else was measured after the last step, in lines."""
    if scores.calibration is not None:
        return [f"calibration: {scores.calibration}"]
    if not scores.regression:
        return []
    shown = ", ".join(f"{name.upper()} {one}" for name, one in scores.regression.items())
    return [f"errors in the units of the targets: {shown}"]


def finite(tree: Any) -> Any:
    """Return a tree with null in place of numbers that JSON does not have."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
