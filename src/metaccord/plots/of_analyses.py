"""The pictures of runs that were measured along their checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from metaccord import tree
from metaccord.analysis import Analysis
from metaccord.diagnostics import paths, plane
from metaccord.errors import NumericalError, UsageError
from metaccord.plots import style
from metaccord.plots.analysis import generalisation, trajectories
from metaccord.plots.landscape import landscape
from metaccord.plots.of_runs import saved

RESOLUTION = 31
log = logging.getLogger("metaccord")


def of_analyses(runs: Mapping[str, Analysis], out: Path) -> list[Path]:
    """Draw the panels over meta-training, coherence against generalisation, and planes.

    Args:
        runs: By the name that is shown; all are measured.
        out: Folder for the pictures.

    Returns:
        Where the PNG files are.
    """
    points = {name: analysis.points for name, analysis in runs.items()}
    figures = {"trajectories": trajectories(points), "generalisation": generalisation(points)}
    for name, analysis in runs.items():
        figure = _plane(name, analysis)
        if figure is not None:
            figures["plane-" + re.sub(r"[^\w.-]", "-", name)] = figure
    return saved(figures, out)


def _plane(name: str, analysis: Analysis) -> Figure | None:
    """Draw the newest checkpoint's plane through its solutions of the first two test tasks."""
    made, protocol, step = analysis.experiment, analysis.protocol, analysis.last()
    method, objective = made.method.with_steps(protocol.steps), made.objective()
    source = made.tasks.episodes(protocol.split, 0, range(2))
    episodes, state = tree.to(source, objective.place()), analysis.state(step)
    try:
        found = plane(
            method,
            objective,
            state,
            episodes,
            resolution=RESOLUTION,
            statistics=protocol.statistics,
        )
    except (NumericalError, UsageError) as error:
        log.warning("%s: no picture of a plane: %s", name, error)
        return None
    shown = f"{style.words(name)}, meta-step {step:,}"
    return landscape(found, paths(method, objective, state, episodes), name=shown)
