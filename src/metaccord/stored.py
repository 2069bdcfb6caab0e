"""What a run folder holds: how it is opened, where it stands, and what it was made of."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaccord import __version__, checkpoint, fs, tree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import CheckpointError, ResourceError, UsageError
from metaccord.experiment import Experiment
from metaccord.objective import Objective
from metaccord.rundir import RunDirectory, compare_config
from metaccord.rundir_files import RUN
from metaccord.serial import to_tree
from metaccord.tasks import TaskSource
from metaccord.types import MetaState, Params

log = logging.getLogger("metaccord")
FREE = ("steps", "checkpoint_every", "keep_every", "tasks.folder")  # what a resumed run may change


@contextmanager
def opened(experiment: Experiment, out: Path, resume: bool) -> Iterator[RunDirectory]:
    """Lock the folder of a run: a fresh one, or one whose settings agree.

    Args:
        experiment: What is asked for now.
        out: The folder.
        resume: Whether it holds the run already.

    Raises:
        UsageError: if the folder holds something else, or another process writes to it.
        CheckpointError: if the run in it was made with other settings.
    """
    config = {"experiment": experiment.tree(), "versions": versions()}
    if not resume:
        with fresh(out, config) as folder:
            yield folder
        return
    with RunDirectory.open(out) as folder:
        refuse_changes(out, stored(folder).tree(), config["experiment"])
        for line in compare_config(folder.config["versions"], config["versions"]):
            log.warning("resuming elsewhere, not exact to the bit: %s", line)
        checkpoint.sweep(folder.checkpoints)
        yield folder


def refuse_changes(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise CheckpointError if a run would go on with other settings than it has."""
    lines = [line for line in compare_config(before, now) if line.split(":")[0] not in FREE]
    if [line.split(":")[0] for line in lines if ".fitted" not in line] == ["tasks.fingerprint"]:
        raise CheckpointError(
            f"{path} was made with other data (their fingerprint is {now['tasks']['fingerprint']}, "
            f"that of the run {before['tasks']['fingerprint']}): restore them, or start anew with "
            "another --out"
        )
    if lines:
        raise CheckpointError(
            f"{path} cannot go on with other settings ({'; '.join(lines[:5])}): leave them out, or "
            "start anew with another --out"
        )


def packed(state: MetaState, slots: Params | None = None) -> Params:
    """Return the tensors of a state, and of the outer optimiser, as a checkpoint holds them."""
    parts = {"params": state.params, "running": state.running, "slots": slots or {}}
    return {k: v for part, found in parts.items() for k, v in tree.under(found, part).items()}


def unpacked(found: Checkpoint, device: torch.device) -> tuple[MetaState, Params]:
    """Return state and optimiser tensors of a checkpoint, on ``device``."""
    tensors = tree.to(found.tensors, device)
    params, running, slots = (tree.scope(tensors, p) for p in ("params", "running", "slots"))
    return MetaState(params, running, found.step), slots


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


def newest(folder: RunDirectory, objective: Objective) -> Checkpoint | None:
    """Return where the run goes on; None: at its beginning."""
    found = _begun(folder)
    if found is None:
        log.warning("%s ended before its first checkpoint: it starts again", folder.path)
        return None
    refuse_other(folder, found, objective)
    if found.state["threads"] != torch.get_num_threads():
        log.warning(
            "resuming with %d threads instead of %d: equal to rounding, not to the bit",
            torch.get_num_threads(),
            found.state["threads"],
        )
    return found


def refuse_other(
    folder: RunDirectory, found: Checkpoint, objective: Objective | None = None
) -> None:
    """Raise CheckpointError for a checkpoint of another run, or of another model than given."""
    if objective is not None and found.state.get("model") != fingerprint(objective):
        raise CheckpointError(
            f"{folder.path} has a checkpoint of another model, names or shapes differ: restore "
            "its own from a backup"
        )
    if found.state.get("run", folder.identity) != folder.identity:
        raise CheckpointError(
            f"{folder.path} has a checkpoint of another run: restore its own from a backup"
        )


def fingerprint(objective: Objective) -> str:
    """Return a hash of the model's trainable names, shapes and types, and of its frozen weights."""
    trainable = objective.trainable()
    facts = [
        [name, list(leaf.shape), str(leaf.dtype) if name in trainable else _digest(leaf)]
        for name, leaf in sorted(objective.model.named_parameters())
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


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
        CheckpointError: if the folder is one of :func:`metaccord.save`, or if it holds settings
            that this version does not know.
    """
    config = folder.config
    if "experiment" not in config:
        raise CheckpointError(
            f"{str(folder.path)!r} holds weights without an experiment: use metaccord.load"
        )
    tree = config["experiment"]
    try:
        if not isinstance(tree, dict) or not tree.keys() >= {"tasks", "model", "method"}:
            raise UsageError("tasks, model or method is missing")
        return Experiment.from_tree(tree)
    except UsageError as error:
        raise CheckpointError(
            f"{str(folder.path / RUN)!r} holds settings that this version refuses ({error}): use "
            "the version of metaccord that wrote it, or start again in another --out"
        ) from error


def load_state(
    path: Path, step: int | None = None, *, device: str | None = None
) -> tuple[Experiment, MetaState, Params]:
    """Return experiment, state and optimiser tensors of a run, from a verified checkpoint.

    Args:
        path: Folder of the run.
        step: Which checkpoint; None: the newest intact one.
        device: Where to; None: as trained, or the CPU if this machine has no CUDA.

    Returns:
        The experiment (with the device that was taken), the state and the slots.

    Raises:
        UsageError: if the folder holds no run.
        CheckpointError: if the run is damaged, or the checkpoint belongs to another model.
    """
    folder = RunDirectory.read(path)
    experiment = stored(folder)
    if device is not None or not torch.cuda.is_available():
        experiment = replace(experiment, device=device or "cpu")
    found = checkpoint.read(folder.checkpoints, step)
    refuse_other(folder, found, experiment.objective())
    state, slots = unpacked(found, torch.device(experiment.device))
    return experiment, state, slots


def refuse_other_tasks(found: dict[Path, TaskSource]) -> None:
    """Raise UsageError unless runs would meet the same test episodes.

    Args:
        found: The tasks of each run, by its folder.
    """
    free = {"seed": 0, "train_shots": None, "folder": ""}
    trees = {k: {**to_tree(v), **free} for k, v in found.items()}
    first, reference = next(iter(trees.items()))
    for folder, other in trees.items():
        if differences := compare_config(reference, other):
            raise UsageError(
                f"{folder} was trained for other tasks than {first} ({differences[0]}): numbers on "
                "different tasks are not compared"
            )
