"""``metaccord adapt``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import tyro

from metaccord.cli.options import Name, Number, Run, Switch, Unseen
from metaccord.deploy.folder import refuse_taken
from metaccord.deploy.measure import measure as measured
from metaccord.errors import UsageError
from metaccord.experiment import known_device
from metaccord.method import caution
from metaccord.saved import load

Support = Annotated[
    Path, tyro.conf.arg(metavar="SUPPORT", help_behavior_hint=""), tyro.conf.Positional
]

_MOST = 1_000_000


def adapt(
    run: Run,
    support: Support,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL")],
    steps: Number = None,
    device: Name = None,
    measure: int = 0,
    unseen: Unseen = None,
    json: Switch = False,
) -> int:
    """Learn a new task from a few labelled examples, and keep the model.

    Args:
        run: Folder of the run.
        support: The examples, a file or folder of the kind that the run was trained on.
        out: New folder for the adapted model.
        steps: Inner steps (default: as trained).
        device: cpu or cuda (default: as trained).
        measure: Measure on so many test tasks of the run, and calibrate probabilities on as many
            validation tasks; needs the run's data (0: nothing is measured).
        unseen: What becomes of categories of a table that training has not seen: refuse, or other
            (default: as trained).
        json: Print one JSON object.
    """
    if measure and not 2 <= measure <= _MOST:
        raise UsageError(f"--measure is {measure}: give 0, or a number of tasks of 2 to {_MOST}")
    if steps is not None and not 0 <= steps <= _MOST:
        raise UsageError(f"--steps is {steps}: give 0 to {_MOST} inner steps")
    if device is not None:
        known_device(device)
    refuse_taken(out)
    learner = load(run, device=device)
    if unseen is not None:
        learner = learner.accepting(unseen)
    caution(learner.method)
    given = learner.labelled(support)
    found = measured(learner, measure, steps=steps) if measure else None
    made = learner.predictor(given, steps=steps, measured=found)
    made.save(out)
    card = made.card
    if json:
        print(jsonlib.dumps({"model": str(out), **card.tree()}))
        return 0
    what = f"classes: {', '.join(card.classes)}" if card.classes else "regression"
    print(f"{out}: {card.method}, {card.made}; {what}")
    if found is not None:
        print(f"on unseen tasks: {found}")
    print(f"next: metaccord predict {out} INPUTS")
    return 0
