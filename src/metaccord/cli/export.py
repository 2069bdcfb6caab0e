"""``metaccord export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from metaccord.cli.options import Number
from metaccord.deploy.folder import CARD
from metaccord.deploy.formats import FACTS, refuse_place
from metaccord.deploy.frozen import export as export_model
from metaccord.deploy.load import load as load_model
from metaccord.deploy.step import export_adaptation
from metaccord.errors import UsageError
from metaccord.saved import load
from metaccord.tasks.checks import checked
from metaccord.tree import unbind
from metaccord.types import Batch

Source = Annotated[
    Path, tyro.conf.arg(metavar="MODEL|RUN", help_behavior_hint=""), tyro.conf.Positional
]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
_MOST = 1000


def export(
    source: Source,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    to: str = "torch",
    support: File = None,
    steps: Number = None,
) -> int:
    """Write a program for a service that has no metaccord.

    Of an adapted model: inputs to logits or values. Of a run: the adaptation itself, from a
    support set and queries to their outputs.

    Args:
        source: Folder of an adapted model, or of a run.
        out: New file: .pt2 for torch, .onnx for onnx.
        to: torch or onnx.
        support: Of a run: a support set whose shapes are taken (default: the run's own tasks).
        steps: Of a run: inner steps (default: as trained).
    """
    refuse_place(out, to)
    if steps is not None and not 0 <= steps <= _MOST:
        raise UsageError(f"--steps is {steps}: give 0 to {_MOST} inner steps, each is unrolled")
    if os.path.lexists(source / CARD):
        if support is not None or steps is not None:
            raise UsageError(f"{source} is adapted already: --support and --steps are for a run")
        export_model(load_model(source), out, to=to)  # type: ignore[arg-type]
        what = "the adapted model"
    else:
        learner = load(source, device="cpu")
        if support is not None:
            batch = learner.labelled(support).batch
        elif learner.origin.experiment is None:
            raise UsageError(f"{source} holds no tasks: give --support with a support set")
        else:
            found = checked(learner.origin.experiment.tasks, "validation", 0, range(1)).support
            batch = Batch(*unbind(tuple(found)[:2])[0])
        export_adaptation(learner, batch, out, to=to, steps=steps)  # type: ignore[arg-type]
        what = "the adaptation"
    print(f"{out}: {what}, {out.stat().st_size} bytes; what it takes and gives: {FACTS} inside")
    return 0
