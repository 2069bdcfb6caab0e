"""``metaccord evaluate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

from metaccord import fs
from metaccord.cli.options import Number, Run, Switch
from metaccord.evaluate import evaluate as measure
from metaccord.method import caution
from metaccord.protocol import Protocol, Scores
from metaccord.stored import load_state


def evaluate(
    run: Run,
    *,
    protocol: str = "transductive",
    tasks: int = 600,
    steps: Number = None,
    split: str = "test",
    branch: str = "model",
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
        json: Print one JSON object.
    """
    how = Protocol(
        statistics=protocol,  # type: ignore[arg-type]
        tasks=tasks,
        steps=steps,
        split=split,
        branch=branch,  # type: ignore[arg-type]
    )
    scores, at = scored(run, how)
    print(jsonlib.dumps(scores.json()) if json else f"{run} at step {at}: {scores}")
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
    name = f"{protocol.split}-{protocol.statistics}-{every}-steps-{protocol.tasks}-tasks"
    name += ".json" if protocol.branch == "model" else f"-{protocol.branch}.json"
    fs.make(run / "scores")
    found = {"step": state.step, **scores.json()}
    fs.write_atomic(run / "scores" / name, jsonlib.dumps(found, indent=1).encode())
    return scores, state.step
