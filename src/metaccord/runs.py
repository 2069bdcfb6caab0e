"""A training with files: records, checkpoints, exact resumption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from metaccord import tree
from metaccord.book import Book
from metaccord.checkpoint import Checkpoint
from metaccord.common_start import refuse_different, spread_start
from metaccord.errors import DataError
from metaccord.experiment import Experiment
from metaccord.inspection import inspect
from metaccord.method import caution, initialise
from metaccord.objective import Objective
from metaccord.ranks import Ranks, largest
from metaccord.records import Record
from metaccord.serial import from_tree
from metaccord.stored import newest, opened, unpacked
from metaccord.tasks.checks import checked, drifts
from metaccord.train import train


def run(
    experiment: Experiment,
    out: Path,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> Iterator[Record]:
    """Meta-train into a folder, yielding each record after it was written.

    Args:
        experiment: What to train; for a resumed run it must agree with the folder.
        out: A new or empty folder, or the run to go on with.
        resume: Go on from the newest intact checkpoint, exactly.
        stop: Asked after each meta-step; True saves and ends. All ranks must answer alike.
        ranks: The processes of the training, each of which calls this; only rank 0 reads and
            writes the folder.

    Yields:
        The records of :func:`metaccord.train`.

    Raises:
        DataError: if the same step of the tasks gives other examples when asked for twice.
        UsageError: if the folder holds another run or is busy, or the model does not fit the
            tasks; a folder that has not got its first record is removed.
        CheckpointError: if the run was made with another method, model or data.
        NumericalError: if a value is not finite; the last good state was saved, and
            :func:`metaccord.replay.repeat` repeats the step.
        ResourceError: if the disk is full; the newest checkpoint stays.
        PeerError: if another process is lost, or brings other settings or data.
    """
    experiment = experiment.settled()
    caution(experiment.method)
    objective = experiment.objective()
    if not resume:
        _rehearse(experiment, objective)
    with ExitStack() as stack:
        folder, start = None, None
        if ranks is None or ranks.rank == 0:
            folder = stack.enter_context(opened(experiment, out, resume))
            start = newest(folder, objective) if resume else None
            if resume:
                folder.cut(start.step if start is not None else 0)
        if ranks is not None:
            refuse_different(experiment, objective, ranks)
            start = spread_start(start, ranks)
        if start is not None:
            objective = objective.planned(from_tree(start.state["plan"]))
        book = Book(experiment, objective, folder, start, 1 if ranks is None else ranks.count)
        with book.keeping():
            for record in _steps(experiment, objective, start, ranks):
                book.note(record)
                done = stop() or record.step == experiment.steps
                if done or book.is_due(record):
                    book.save(record)  # after its record: a resumed run lacks none
                yield record
                if done:
                    break
        if ranks is not None:
            largest(0, ranks)  # nobody leaves before the last checkpoint is safe


def _rehearse(experiment: Experiment, objective: Objective) -> None:
    """Raise what a look at the first task brings up, before there is a folder."""
    state = initialise(experiment.method, objective, seed=experiment.seed)
    tasks = replace(experiment.tasks, seed=experiment.seed)
    first = checked(tasks, "train", 0, range(1))
    if drifts(tasks, 0, range(1), first):
        raise DataError(
            f"{type(tasks).__name__}.episodes gives other examples when the same step is asked for "
            "twice, so no run could go on exactly: make it a pure function of seed, split, step "
            "and task (TaskSource.draws gives random words)"
        )
    inspect(objective, state, tree.to(first, objective.place()))


def _steps(
    experiment: Experiment, objective: Objective, start: Checkpoint | None, ranks: Ranks | None
) -> Iterator[Record]:
    state, slots = None, None
    if start is not None:
        state, slots = unpacked(start, objective.place())
    return train(
        experiment.method,
        objective,
        replace(experiment.tasks, seed=experiment.seed),
        steps=experiment.steps,
        num_tasks=experiment.num_tasks,
        outer=experiment.outer,
        seed=experiment.seed,
        state=state,
        slots=slots,
        ranks=ranks,
        exact=experiment.deterministic,
    )
