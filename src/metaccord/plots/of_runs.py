"""The pictures of a run, and of several runs that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from metaccord import plots, tree
from metaccord.evaluate import evaluate, isolated
from metaccord.learner import Learner
from metaccord.method import initialise
from metaccord.protocol import Protocol
from metaccord.rundir import RunDirectory
from metaccord.saved import load
from metaccord.scores import Scores
from metaccord.stored import load_state
from metaccord.tasks import Omniglot, Sinusoid
from metaccord.tuning import settled

TASKS = 16  # tasks of the cosine matrix
MEASURED = 100  # tasks of the error by gradient steps


def of_run(run: Path, out: Path) -> list[Path]:
    """Draw what a run has to show: curves, adaptation, weights, cosines, an episode.

    Args:
        run: Folder of the run.
        out: Folder for the pictures.

    Returns:
        Where the PNG files are.
    """
    experiment, state, _ = load_state(run)
    learner, label = load(run), experiment.method.label
    objective = settled(learner.objective)
    records = RunDirectory.read(run).records()
    steps = experiment.method.rule.steps
    scores = evaluate(
        experiment.method,
        objective,
        state,
        experiment.tasks,
        Protocol(tasks=MEASURED, steps=max(steps, 5)),
        at=tuple(range(max(steps, 5) + 1)),
    )
    figures: dict[str, Figure] = {
        "training": plots.training({label: [records]}),
        "error-by-step": plots.error_by_step({label: [scores]}),
    }
    if scores.calibrations and scores.calibrations[steps].examples:
        how = replace(scores, protocol=replace(scores.protocol, steps=steps)).how  # as trained
        found = {label: scores.calibrations[steps]}
        figures["reliability"] = plots.reliability(found, note=how)
    episodes = tree.to(experiment.tasks.episodes("test", 0, range(TASKS)), objective.place())
    matrix = plots.task_cosines(experiment.method, objective, state, episodes)
    figures["cosines"] = plots.cosines(matrix, None)
    if any("agreement.weights" in record for record in records):
        figures["weights"] = plots.weights(records)
    if isinstance(experiment.tasks, Sinusoid):
        before = untrained(learner, experiment.seed)
        figures["adaptation"] = plots.adaptation(
            {"before training": before, label: learner}, experiment.tasks
        )
    if isinstance(experiment.tasks, Omniglot):
        few = replace(experiment.tasks, queries=min(experiment.tasks.queries, 3))
        shown = tree.to(few.episodes("test", 0, range(1)), objective.place())
        alone = isolated(experiment.method, objective, state, shown)
        figures["episode"] = plots.episode(objective, alone, task=0)
    return saved(figures, out)


def of_comparison(
    folders: Mapping[str, Sequence[Path]], results: Mapping[str, list[Scores]], out: Path
) -> list[Path]:
    """Draw methods side by side.

    Args:
        folders: Per method the folders of its runs, one per seed.
        results: Per method the scores of its runs.
        out: Folder for the pictures.
    """
    records = {
        label: [RunDirectory.read(folder).records() for folder in found]
        for label, found in folders.items()
    }
    figures = {
        "training": plots.training(records),
        "error-by-step": plots.error_by_step(results),
    }
    learners = {label: load(found[0]) for label, found in folders.items()}
    first = load_state(next(iter(folders.values()))[0])[0]
    if isinstance(first.tasks, Sinusoid):
        before = untrained(next(iter(learners.values())), first.seed)
        shown = {"before training": before, **learners}
        figures["adaptation"] = plots.adaptation(shown, first.tasks)
    for label, runs in records.items():
        if any("agreement.weights" in record for record in runs[0]):
            figures[f"weights-{label}"] = plots.weights(runs[0])
    return saved(figures, out)


def untrained(learner: Learner, seed: int) -> Learner:
    """Return the learner as it was before its first meta-step."""
    start = initialise(learner.method, learner.objective, seed=seed)
    return Learner(learner.method, learner.objective, start)


def saved(figures: Mapping[str, Figure], out: Path) -> list[Path]:
    """Save each figure as PNG and SVG and return the PNG files."""
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        plots.save(figure, out / name)
    return [out / f"{name}.png" for name in figures]
