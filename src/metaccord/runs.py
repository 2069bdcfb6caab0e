"""A training with files: records, checkpoints, exact resumption."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaccord import __version__, checkpoint, tree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, NumericalError
from metaccord.evaluate import Protocol, evaluate
from metaccord.experiment import Experiment
from metaccord.objective import Objective
from metaccord.records import Record
from metaccord.rundir import RunDirectory, compare_config
from metaccord.serial import from_tree, to_tree
from metaccord.train import train
from metaccord.types import MetaState, Params
from metaccord.watch import Watch

log = logging.getLogger("metaccord")
FREE = ("steps", "checkpoint_every")  # what a resumed run may change
_PARTS = ("params", "running", "slots")


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
        UsageError: if the folder holds another run or is busy.
        CheckpointError: if the run was made with another method, model or data.
        NumericalError: if a value is not finite; the last good state was saved.
        ResourceError: if the disk is full; the newest checkpoint stays.
    """
    experiment = experiment.settled()
    objective = experiment.objective()
    with _folder(experiment, out, resume) as folder:
        start = _newest(folder, objective) if resume else None
        if start is not None:
            folder.cut(start.step)
            objective = objective.planned(from_tree(start.state["plan"]))
        saver = _Saver(folder, objective, start)
        last = None
        try:
            for record in _steps(experiment, objective, start):
                last = record
                folder.append({**record.json(), **saver.extras(experiment, objective, record)})
                done = stop() or record.step == experiment.steps
                if done or record.step % experiment.checkpoint_every == 0:
                    saver.save(record)
                yield record
                if done:
                    return
        except NumericalError:
            if last is not None:
                saver.save(last)
            raise


def _steps(
    experiment: Experiment, objective: Objective, start: Checkpoint | None
) -> Iterator[Record]:
    state, slots = None, None
    if start is not None:
        parts = {part: tree.scope(start.tensors, part) for part in _PARTS}
        parts = tree.to(parts, objective.place())
        state = MetaState(parts["params"], parts["running"], start.step)
        slots = parts["slots"]
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
        self, folder: RunDirectory, objective: Objective, start: Checkpoint | None
    ) -> None:
        self.folder = folder
        self.model = fingerprint(objective)
        self.best: dict[str, Any] = dict(start.state["best"]) if start is not None else {}
        self.saved = start.step if start is not None else -1
        self.watch = Watch()
        if start is not None:
            vars(self.watch).update(start.state["watch"])

    def extras(self, experiment: Experiment, objective: Objective, record: Record) -> dict[str, Any]:
        """Return what is recorded beside the meta-step: validation, and a warning."""
        found: dict[str, Any] = {}
        if self.watch(record):
            log.warning("%s", self.watch.message)
            found["warning"] = self.watch.message
        every = experiment.validate_every
        if every and record.step % every == 0:
            protocol = Protocol(tasks=experiment.validation_tasks, split="validation")
            scores = evaluate(
                experiment.method, objective, record.state, experiment.tasks, protocol
            )
            found["validation"] = scores.json()
            if not self.best or scores.loss.mean < self.best["loss"]:
                self.best = {"step": record.step, "loss": scores.loss.mean}
                self.save(record)
        return found

    def save(self, record: Record) -> None:
        """Write a checkpoint of this record's state, once."""
        if record.step == self.saved:
            return
        parts = {"params": record.state.params, "running": record.state.running}
        tensors = {
            name: tensor
            for part, found in {**parts, "slots": record.slots}.items()
            for name, tensor in tree.under(found, part).items()
        }
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
            Checkpoint(record.step, tensors, state),
            best=self.best.get("step"),
        )
        self.saved = record.step


@contextmanager
def _folder(experiment: Experiment, out: Path, resume: bool) -> Iterator[RunDirectory]:
    config = {"experiment": experiment.tree(), "versions": versions()}
    if not resume:
        with RunDirectory.create(out, config) as folder:
            yield folder
        return
    with RunDirectory.open(out) as folder:
        differences = [
            line
            for line in compare_config(folder.config["experiment"], config["experiment"])
            if line.split(":")[0] not in FREE
        ]
        if differences:
            raise CheckpointError(
                f"{out} cannot go on with other settings ({'; '.join(differences[:5])}): "
                "leave them out, or start anew with another --out"
            )
        for line in compare_config(folder.config["versions"], config["versions"]):
            log.warning("resuming elsewhere, not exact to the bit: %s", line)
        yield folder


def _newest(folder: RunDirectory, objective: Objective) -> Checkpoint | None:
    """Return the newest intact checkpoint; None if the run ended before its first one."""
    if not any(folder.checkpoints.iterdir()):
        return None
    found = checkpoint.read(folder.checkpoints)
    if found.state["model"] != fingerprint(objective):
        raise CheckpointError(f"{folder.path} was trained with another model: its tensors differ")
    if found.state["threads"] != torch.get_num_threads():
        log.warning(
            "resuming with %d threads instead of %d: equal to rounding, not to the bit",
            torch.get_num_threads(),
            found.state["threads"],
        )
    return found


def fingerprint(objective: Objective) -> str:
    """Return a hash of the names, shapes and types of the model's trainable tensors."""
    facts = [
        [name, list(tensor.shape), str(tensor.dtype)]
        for name, tensor in sorted(objective.trainable().items())
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return what a run depends on beside its configuration."""
    return {
        "metaccord": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def load_state(path: Path, step: int | None = None) -> tuple[Experiment, MetaState, Params]:
    """Return experiment, state and optimiser tensors of a run, from a verified checkpoint.

    Args:
        path: Folder of the run.
        step: Which checkpoint; None: the newest intact one.
    """
    folder = RunDirectory.read(path)
    experiment = Experiment.from_tree(folder.config["experiment"])
    found = checkpoint.read(folder.checkpoints, step)
    device = torch.device(experiment.device if torch.cuda.is_available() else "cpu")
    parts: dict[str, dict[str, Tensor]] = tree.to(
        {part: tree.scope(found.tensors, part) for part in _PARTS}, device
    )
    state = MetaState(parts["params"], parts["running"], found.step)
    return experiment, state, parts["slots"]


