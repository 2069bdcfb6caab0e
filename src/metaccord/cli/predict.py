"""``metaccord predict``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import tyro

from metaccord import fs
from metaccord.cli.options import Switch, Unseen
from metaccord.deploy.folder import refuse_file
from metaccord.deploy.load import load
from metaccord.errors import UsageError
from metaccord.experiment import known_device

Model = Annotated[Path, tyro.conf.arg(metavar="MODEL", help_behavior_hint=""), tyro.conf.Positional]
Inputs = Annotated[
    Path, tyro.conf.arg(metavar="INPUTS", help_behavior_hint=""), tyro.conf.Positional
]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]


def predict(
    model: Model,
    inputs: Inputs,
    *,
    out: File = None,
    picture: File = None,
    support: File = None,
    device: str = "cpu",
    unseen: Unseen = None,
    json: Switch = False,
) -> int:
    """Ask an adapted model for classes and probabilities, or for values.

    Args:
        model: Folder that metaccord adapt wrote.
        inputs: A file or folder of the kind that the run was trained on, without labels.
        out: New file for the answers, .csv or .json, instead of the standard output.
        picture: New file for a picture of the answers and how sure they are, .png or .svg.
        support: The file or folder that the model was adapted to, to be drawn as well.
        device: cpu or cuda.
        unseen: What becomes of categories of a table that training has not seen: refuse, or other
            (default: as adapted).
        json: Print one JSON object.
    """
    for path, name, known in ((out, "--out", _TABLES), (picture, "--picture", _PICTURES)):
        if path is not None:
            refuse_file(path, name, known)
    if support is not None and picture is None:
        raise UsageError("--support is drawn beside the answers: give --picture, too")
    made = load(model, device=known_device(device))
    if unseen is not None:
        made = made.accepting(unseen)
    given = made.coded(inputs)
    drawn = None if support is None else made.support(support)
    answers = made.answers(given)
    files: dict[Path, bytes] = {}  # nothing is written until all is made
    if picture is not None:
        from metaccord.plots import predictions, style  # matplotlib is heavy

        figure = predictions.predictions(made, given, answers, support=drawn)
        files[picture] = style.encode(figure, picture.suffix[1:])
    if out is not None:
        text = answers.csv() if out.suffix == ".csv" else jsonlib.dumps(answers.rows(), indent=1)
        files[out] = text.encode()
    for path, content in files.items():
        fs.write_atomic(path, content)
    if json:
        print(jsonlib.dumps({"model": str(model), "predictions": answers.rows()}))
    else:
        print(answers if out is None else f"{out}: {len(answers.names)} answers")
    return 0


_TABLES, _PICTURES = (".csv", ".json"), (".png", ".svg")
