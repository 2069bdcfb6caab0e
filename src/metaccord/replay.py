"""One meta-step of a run again, alone: what each task did, and whether it failed as before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaccord import checkpoint, tree
from metaccord.axis import TaskAxis
from metaccord.errors import CheckpointError, NumericalError
from metaccord.experiment import Experiment
from metaccord.method import initialise
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import read_failure
from metaccord.serial import from_tree
from metaccord.step import meta_gradient
from metaccord.stored import load_state, stored
from metaccord.train import global_norm
from metaccord.types import MetaState, MetaStep, Params


@dataclass(frozen=True)
class Replay:
    """A meta-step that was computed again.

    Attributes:
        step: Its index: how many meta-steps had been done.
        failure: What the run wrote down about it, or None.
        losses: Support loss before each inner step and query loss, if there is one, of each task:
            ``[N, K]`` or ``[N, K + 1]``.
        lengths: Euclidean norm of each task's meta-gradient, ``[N]``.
        broken: Names of the averaged gradients and running statistics that are not finite.
    """

    step: int
    failure: dict[str, Any] | None
    losses: Tensor
    lengths: Tensor
    broken: tuple[str, ...]

    @property
    def finite(self) -> bool:
        """Whether nothing went wrong this time."""
        parts = (self.losses, self.lengths)
        return not self.broken and all(bool(x.isfinite().all()) for x in parts)

    @property
    def tasks(self) -> list[int]:
        """The tasks with a value that is not finite."""
        bad = ~(self.losses.isfinite().all(1) & self.lengths.isfinite())
        return [int(i) for i in bad.nonzero().flatten()]


def repeat(path: Path, step: int | None = None) -> Replay:
    """Compute the meta-step that a run failed at once more, in one process; nothing is written.

    Args:
        path: Folder of the run.
        step: Another meta-step to compute, of which there must be a checkpoint (the state after
            so many steps); None: the one that failed.

    Raises:
        CheckpointError: if the run has not failed, or the checkpoint of that step is gone.
        Exception: what the model, criterion or tasks raise, as in the training.
    """
    folder = RunDirectory.read(path)
    failure = read_failure(path)
    if step is None:
        if failure is None:
            raise CheckpointError(
                f"{str(path)!r} has no failed step: choose one with --step from "
                f"{checkpoint.saved(folder.checkpoints)}"
            )
        step = int(failure["step"])
    experiment, state = _state(path, folder, step)
    objective = experiment.objective()
    if step > 0:
        plan = checkpoint.read(folder.checkpoints, step).state["plan"]
        objective = objective.planned(replace(from_tree(plan), compile=False))
    stream = replace(experiment.tasks, seed=experiment.seed)
    axis = TaskAxis(experiment.num_tasks, exact=experiment.deterministic)
    episodes = tree.to(stream.episodes("train", step, axis.tasks), objective.place())
    found = meta_gradient(experiment.method, objective, state, episodes, axis)
    same = failure if failure is not None and failure["step"] == step else None
    return _looked(found, step, same)


def _state(path: Path, folder: RunDirectory, step: int) -> tuple[Experiment, MetaState]:
    if step > 0:
        experiment, state, _ = load_state(path, step)
        return experiment, state
    experiment = stored(folder)
    return experiment, initialise(experiment.method, experiment.objective(), seed=experiment.seed)


def _looked(found: MetaStep, step: int, failure: dict[str, Any] | None) -> Replay:
    run = found.run
    columns = [*run.support_losses, *([] if run.losses is None else [run.losses])]
    lengths = [global_norm(row) for row in tree.unbind(found.rows)]
    return Replay(
        step=step,
        failure=failure,
        losses=torch.stack(columns, 1).detach().cpu(),
        lengths=torch.stack(lengths).detach().cpu(),
        broken=tuple(_broken({**found.grads, **found.running})),
    )


def _broken(tensors: Params) -> list[str]:
    return [name for name, value in tensors.items() if not value.isfinite().all()]


def verdict(found: Replay) -> str:
    """Return one line for people."""
    if found.finite:
        before = " this time, in one process" if found.failure is not None else ""
        return f"meta-step {found.step}: every value is finite{before}"
    where = f"tasks {found.tasks[:8]}" if found.tasks else "no single task"
    kept = "as in the run" if found.failure is not None else "again"
    return f"meta-step {found.step} fails {kept}: {', '.join(found.broken[:4])}; {where}"


def refuse_failed(found: Replay) -> None:
    """Raise NumericalError if a value is not finite."""
    if not found.finite:
        raise NumericalError(f"{verdict(found)}; lower rule.lr or outer.lr, or clip the gradient")
