"""A training with files: records, checkpoints, exact resumption."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaccord import __version__, checkpoint, fs, tree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, NumericalError, ResourceError
from metaccord.evaluate import Protocol, evaluate
from metaccord.experiment import Experiment
from metaccord.inspection import inspect
from metaccord.method import initialise
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
        UsageError: if the folder holds another run or is busy, or the model does not fit the
            tasks; a folder that has not got its first record is removed.
        CheckpointError: if the run was made with another method, model or data.
        NumericalError: if a value is not finite; the last good state was saved.
        ResourceError: if the disk is full; the newest checkpoint stays.
    """
    experiment = experiment.settled()
    objective = experiment.objective()
    if not resume:
        _rehearse(experiment, objective)
    with _folder(experiment, out, resume) as folder:
        start = _newest(folder, objective) if resume else None
        if resume:
            folder.cut(start.step if start is not None else 0)
        if start is not None:
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
            alike = objective.planned(record.plan)  # as a resumed run will measure
            scores = evaluate(experiment.method, alike, record.state, experiment.tasks, protocol)
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
        with fresh(out, config) as folder:
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


@contextmanager
def fresh(path: Path, config: dict[str, Any]) -> Iterator[RunDirectory]:
    """Create a run folder; an error before its first record or checkpoint removes it again."""
    with RunDirectory.create(path, config) as folder:
        try:
            yield folder
        except Exception:
            with suppress(ResourceError, OSError):
                if not fs.names(folder.checkpoints) and not folder.records():
                    fs.remove(path)
            raise


def _begun(folder: RunDirectory) -> Checkpoint | None:
    """Return the newest intact checkpoint; None if the run ended before its first one."""
    with suppress(OSError):
        if not any(name.startswith("step-") for name in fs.names(folder.checkpoints)):
            return None
    return checkpoint.read(folder.checkpoints)


def done(path: Path) -> int:
    """Return how many steps of a run are safe: the step of its newest intact checkpoint, or 0.

    Raises:
        UsageError: if the folder holds no run.
        CheckpointError: if all its checkpoints are damaged.
    """
    found = _begun(RunDirectory.read(path))
    return 0 if found is None else found.step


def _newest(folder: RunDirectory, objective: Objective) -> Checkpoint | None:
    """Return where the run goes on; None: at its beginning."""
    found = _begun(folder)
    if found is None:
        log.warning("%s ended before its first checkpoint: it starts again", folder.path)
        return None
    _refuse_other(folder.path, found, objective)
    if found.state["threads"] != torch.get_num_threads():
        log.warning(
            "resuming with %d threads instead of %d: equal to rounding, not to the bit",
            torch.get_num_threads(),
            found.state["threads"],
        )
    return found


def _refuse_other(path: Path, found: Checkpoint, objective: Objective) -> None:
    if found.state.get("model") != fingerprint(objective):
        raise CheckpointError(
            f"{path} has a checkpoint of another model, names or shapes differ: restore its own "
            "from a backup"
        )


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


def stored(folder: RunDirectory) -> Experiment:
    """Return the experiment of a run folder.

    Raises:
        CheckpointError: if the folder is one of :func:`metaccord.save`.
    """
    config = folder.config
    if "experiment" not in config:
        raise CheckpointError(
            f"{str(folder.path)!r} holds weights without an experiment: use metaccord.load"
        )
    return Experiment.from_tree(config["experiment"])


def load_state(path: Path, step: int | None = None) -> tuple[Experiment, MetaState, Params]:
    """Return experiment, state and optimiser tensors of a run, from a verified checkpoint.

    Args:
        path: Folder of the run.
        step: Which checkpoint; None: the newest intact one.

    Returns:
        The experiment (on the CPU if this machine has no CUDA), the state and the slots.

    Raises:
        UsageError: if the folder holds no run.
        CheckpointError: if the run is damaged, or the checkpoint belongs to another model.
    """
    folder = RunDirectory.read(path)
    experiment = stored(folder)
    if not torch.cuda.is_available():
        experiment = replace(experiment, device="cpu")
    found = checkpoint.read(folder.checkpoints, step)
    _refuse_other(path, found, experiment.objective())
    device = torch.device(experiment.device)
    parts: dict[str, dict[str, Tensor]] = tree.to(
        {part: tree.scope(found.tensors, part) for part in _PARTS}, device
    )
    state = MetaState(parts["params"], parts["running"], found.step)
    return experiment, state, parts["slots"]


