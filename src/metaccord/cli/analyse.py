"""``metaccord analyse``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from metaccord import fs, jsontree
from metaccord.analysis import QUANTITIES, Analysis, classifies, column, correlations
from metaccord.cli.interrupt import Interrupt, listening
from metaccord.cli.options import Folder, Number, Switch
from metaccord.cli.process import tune_process
from metaccord.cli.progress import EVERY
from metaccord.errors import UsageError
from metaccord.protocol import Protocol
from metaccord.statistics import Interval
from metaccord.stored import refuse_other_tasks

CURVED = 30  # tasks whose curvature is measured, if there are as many
HEADS = {
    "spectral_norm": "Hessian norm",
    "support_loss": "support loss",
    "distance": "distance",
    "trajectory_coherence": "cosine of paths",
    "gradient_coherence": "gradient product",
    "gradient_cosine": "gradient cosine",
}
CAUTION = (
    "Each with target accuracy, or with the negative target loss, over the checkpoints of one run "
    "and its untrained state. These points follow one another in one training and are measured on "
    "the same tasks: they are not independent, and the intervals (Fisher's z) are too narrow."
)
Runs = dict[str, Analysis]
Folders = Annotated[
    tuple[Path, ...],
    tyro.conf.arg(metavar="RUN ...", help_behavior_hint=""),
    tyro.conf.Positional,
]


def analyse(
    runs: Folders,
    *,
    tasks: int = 100,
    curvature_tasks: Number = None,
    protocol: str = "transductive",
    steps: Number = None,
    json: Switch = False,
    out: Folder = None,
) -> int:
    """Measure what adaptation does to unseen tasks, along the checkpoints of one or more runs.

    Train with --set keep_every=N to have checkpoints to look at. Finished measurements are kept
    in RUN/analysis.json; the same command goes on after an interruption.

    Args:
        runs: Folders of the runs, all trained for the same tasks.
        tasks: Number of test tasks.
        curvature_tasks: Number of them whose curvature is measured, 0: none (default: 30).
        protocol: transductive, inductive or frozen: what batch normalisation sees.
        steps: Inner steps (default: as trained).
        json: Print one JSON object.
        out: Folder for the pictures (default: plots/ in the first RUN).
    """
    how = Protocol(statistics=protocol, tasks=tasks, steps=steps)  # type: ignore[arg-type]
    curved = min(CURVED, tasks) if curvature_tasks is None else curvature_tasks
    if curved and not 2 <= curved <= tasks:
        raise UsageError(
            f"curvature_tasks={curved}: use 0 or a number from 2 to protocol.tasks={tasks}"
        )
    if not runs:
        raise UsageError("analyse needs the folder of a run, such as runs/sinusoid-maml-0")
    found = named([Analysis(path, how, curved) for path in dict.fromkeys(runs)])
    with listening() as interrupt:
        measured(found, interrupt, json)
    if interrupt.code:
        print("interrupted: measurements are kept; the same command goes on", file=sys.stderr)
        return interrupt.code
    for analysis in found.values():
        analysis.last()  # an error if no checkpoint was intact
    from metaccord.plots.of_analyses import of_analyses  # matplotlib is heavy

    pictures = of_analyses(found, _folder(out or runs[0] / "plots"))
    if json:
        print(jsontree.encode({"runs": summary(found), "pictures": list(map(str, pictures))}))
        return 0
    show(found)
    for path in pictures:
        print(path)
    return 0


def named(analyses: Sequence[Analysis]) -> Runs:
    """Return the runs by their methods' labels, or by their folders where labels are equal.

    Raises:
        UsageError: if they were trained for different tasks.
    """
    refuse_other_tasks({a.path: a.experiment.tasks for a in analyses})
    labels = [analysis.experiment.method.label for analysis in analyses]
    counts = Counter(labels)
    return {
        label if counts[label] == 1 else str(analysis.path): analysis
        for label, analysis in zip(labels, analyses, strict=True)
    }


def measured(runs: Runs, interrupt: Interrupt, quiet: bool = False) -> None:
    """Measure what is missing, until a signal comes.

    Args:
        runs: By name.
        interrupt: Asked before each checkpoint.
        quiet: Show no progress.
    """
    todo = [(name, step) for name, analysis in runs.items() for step in analysis.missing()]
    shown = iter(todo) if quiet else _bar(todo) if sys.stderr.isatty() else _lines(todo)
    for name, step in shown:
        if interrupt():
            return
        tune_process(runs[name].experiment)
        runs[name].measure(step)


def _bar(todo: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("measuring", total=len(todo))
        for name, step in todo:
            progress.update(bar, description=f"measuring {name} at step {step}")
            yield name, step
            progress.advance(bar)


def _lines(todo: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    began = last = time.perf_counter()
    for count, (name, step) in enumerate(todo, 1):
        yield name, step
        now = time.perf_counter()
        if count == len(todo) or now - last >= EVERY:
            last, left = now, (now - began) / count * (len(todo) - count)
            shown = f"measured {name} at step {step}, {count}/{len(todo)} checkpoints"
            print(f"{shown}, {left:.0f} s left", file=sys.stderr, flush=True)


def summary(runs: Runs) -> dict[str, Any]:
    """Return all measurements and correlations as one JSON object."""
    return {
        name: {
            "run": str(analysis.path),
            "points": [{"step": k, **scores.json()} for k, scores in analysis.points.items()],
            "correlations": {
                quantity: {"pearson": row.pearson._asdict(), "spearman": row.spearman._asdict()}
                for quantity, row in correlations(analysis.points).items()
            },
        }
        for name, analysis in runs.items()
    }


def show(runs: Runs) -> None:
    """Print the measurements of each run, then the correlations of all."""
    console = Console()
    for name, analysis in runs.items():
        console.print(_measurements(name, analysis))
        for line in _remarks(analysis):
            console.print(line, highlight=False)
    table = Table(title="correlations with generalisation, 95 % intervals")
    for head in ("run", "quantity", "points", "Pearson", "Spearman"):
        table.add_column(head)
    for name, analysis in runs.items():
        for quantity, row in correlations(analysis.points).items():
            cells = str(row.pearson.points), str(row.pearson), str(row.spearman)
            table.add_row(name, QUANTITIES[quantity], *cells)
        table.add_section()
    console.print(table)
    console.print(CAUTION, highlight=False)


def _measurements(name: str, analysis: Analysis) -> Table:
    points = analysis.points
    share = classifies({name: points})
    target = "target_accuracy" if share else "target_loss"
    title = f"{name} along its training, 95 % intervals over tasks"
    table = Table(title=title, box=SIMPLE, padding=(0, 0, 0, 1))
    heads = {target: "target acc., %" if share else "target loss", **HEADS}
    for head in ("step", *heads.values()):
        table.add_column(head, overflow="fold")
    columns = [[_cell(key, one) for one in column(points, key)] for key in heads]
    for step, *cells in zip(points, *columns, strict=True):
        table.add_row(str(step), *cells)
    return table


def _cell(key: str, interval: Interval) -> str:
    mean, half = (100 * x if key == "target_accuracy" else x for x in interval)
    if mean != mean:
        return "–"
    if key in ("trajectory_coherence", "gradient_cosine"):
        return f"{mean:.3f} ± {half:.3f}"
    return f"{mean:.3g} ± {half:.2g}"


def _remarks(analysis: Analysis) -> list[str]:
    """Return the protocol, and what its numbers leave open."""
    scores = analysis.points.values()
    lines = [f"protocol: {analysis.protocol}; step 0 is the untrained state"]
    uncertain, unmoved = (max(getattr(s, k) for s in scores) for k in ("uncertain", "unmoved"))
    if uncertain:
        lines.append(f"Hessian norm: for up to {uncertain} tasks of a step a lower bound only")
    if unmoved:
        lines.append(f"cosine of paths: without tasks that did not move, up to {unmoved}")
    return lines


def _folder(path: Path) -> Path:
    try:
        fs.make(path)
    except OSError as error:
        message = f"{str(path)!r} cannot be a folder ({error.strerror}): choose another --out"
        raise UsageError(message) from error
    return path
