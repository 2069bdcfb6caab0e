"""A training with files: records, checkpoints, exact resumption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from metaccord import checkpoint, tree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import NumericalError
from metaccord.evaluate import evaluate
from metaccord.experiment import Experiment
from metaccord.inspection import inspect
from metaccord.method import caution, initialise
from metaccord.objective import Objective
from metaccord.protocol import Protocol
from metaccord.records import Record
from metaccord.rundir import RunDirectory
from metaccord.serial import from_tree, to_tree
from metaccord.stored import fingerprint, newest, opened, packed, unpacked
from metaccord.train import train
from metaccord.watch import Watch

log = logging.getLogger("metaccord")


def run(
    experiment: Experiment,
    out: Path,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Meta-train into a folder, yielding each record after it was written.

    Args:
        experiment: What to train; for a resumed run it must agree with the folder.
        out: A new or empty folder, or the run to go on with.
        resume: Go on from the newest intact checkpoint, exactly.
        stop: Asked after each meta-step; True saves and ends.

    Yields:
        The records of :func:`metaccord.train`.

    Raises:
        UsageError: if the folder holds another run or is busy, or the model does not fit the
            tasks; a folder that has not got its first record is removed.
        CheckpointError: if the run was made with another method, model or data.
        NumericalError: if a value is not finite; the last good state was saved.
        ResourceError: if the disk is full; the newest checkpoint stays.
    """
    experiment = experiment.settled()
    caution(experiment.method)
    objective = experiment.objective()
    if not resume:
        _rehearse(experiment, objective)
    with opened(experiment, out, resume) as folder:
        start = newest(folder, objective) if resume else None
        if resume:
            folder.cut(start.step if start is not None else 0)
        if start is not None:
            objective = objective.planned(from_tree(start.state["plan"]))
        saver = _Saver(folder, objective, start, experiment.keep_every)
        last = None
        try:
            for record in _steps(experiment, objective, start):
                last = record
                folder.append({**record.json(), **saver.extras(experiment, objective, record)})
                done = stop() or record.step == experiment.steps
                best = saver.best.get("step") == record.step
                if done or best or experiment.saves_at(record.step):
                    saver.save(record)  # after its record: a resumed run lacks none
                yield record
                if done:
                    return
        except NumericalError:
            if last is not None:
                with suppress(NumericalError):  # the last update itself may have overflowed
                    saver.save(last)
            raise


def _rehearse(experiment: Experiment, objective: Objective) -> None:
    """Raise what a look at the first task brings up, before there is a folder."""
    state = initialise(experiment.method, objective, seed=experiment.seed)
    tasks = replace(experiment.tasks, seed=experiment.seed)
    inspect(objective, state, tree.to(tasks.episodes("train", 0, range(1)), objective.place()))


def _steps(
    experiment: Experiment, objective: Objective, start: Checkpoint | None
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
    )


class _Saver:
    """Writes checkpoints and remembers the best one by validation loss."""

    def __init__(
        self, folder: RunDirectory, objective: Objective, start: Checkpoint | None, keep_every: int
    ) -> None:
        self.folder = folder
        self.keep_every = keep_every
        self.model = fingerprint(objective)
        self.best: dict[str, Any] = dict(start.state["best"]) if start is not None else {}
        self.saved = start.step if start is not None else -1
        self.watch = Watch()
        if start is not None:
            vars(self.watch).update(start.state["watch"])

    def extras(
        self, experiment: Experiment, objective: Objective, record: Record
    ) -> dict[str, Any]:
        """Return what is recorded beside the meta-step: validation, and a warning."""
        found: dict[str, Any] = {}
        if self.watch(record):
            log.warning("%s", self.watch.message)
            found["warning"] = self.watch.message
        every = experiment.validate_every
        if every and record.step % every == 0:
            protocol = Protocol(tasks=experiment.validation_tasks, split="validation")
            alike = objective.planned(record.plan)  # as a resumed run will measure
            scores = evaluate(experiment.method, alike, record.state, experiment.tasks, protocol)
            found["validation"] = scores.json()
            if not self.best or scores.loss.mean < self.best["loss"]:
                self.best = {"step": record.step, "loss": scores.loss.mean}
        return found

    def save(self, record: Record) -> None:
        """Write a checkpoint of this record's state, once."""
        if record.step == self.saved:
            return
        state = {
            "plan": to_tree(record.plan),
            "best": self.best,
            "watch": vars(self.watch),
            "model": self.model,
            "threads": torch.get_num_threads(),
        }
        self.folder.sync()
        checkpoint.write(
            self.folder.checkpoints,
            Checkpoint(record.step, packed(record.state, record.slots), state),
            best=self.best.get("step"),
            every=self.keep_every,
        )
        self.saved = record.step
