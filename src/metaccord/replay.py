"""One meta-step of a run again, alone: what each task did, and whether it failed as before."""

from __future__ import annotations

import logging
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
from metaccord.objective import Objective
from metaccord.records import broken
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import read_failure
from metaccord.serial import from_tree
from metaccord.step import meta_gradient
from metaccord.stored import load_state, stored
from metaccord.tasks.checks import checked
from metaccord.train import global_norm, train
from metaccord.types import MetaState, MetaStep, Params

log = logging.getLogger("metaccord")


@dataclass(frozen=True)
class Replay:
    """A meta-step that was computed again.

    Attributes:
        step: Its index: how many meta-steps had been done.
        failure: What the run wrote down about it, or None.
        losses: Support loss before each inner step and query loss, if there is one, of each task:
            ``[N, K]`` or ``[N, K + 1]``.
        lengths: Euclidean norm of each task's meta-gradient, ``[N]``.
        broken: Names of the tensors that are not finite: weights and moments before the step,
            averaged gradients, running statistics.
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

    Without a checkpoint of that step, because its weights had overflowed already, the steps since
    the one before are computed again first.

    Args:
        path: Folder of the run.
        step: Another meta-step to compute, of which there must be a checkpoint (the state after
            so many steps); None: the one that failed.

    Raises:
        CheckpointError: if the run has not failed, or the checkpoint is damaged or, of a ``step``
            that was asked for, missing.
        NumericalError: if an earlier step fails while it is computed again.
        Exception: what the model, criterion or tasks raise, as in the training.
    """
    folder = RunDirectory.read(path)
    failure = _failure(path, needed=step is None)
    steps = checkpoint.saved(folder.checkpoints)
    if step is not None:
        start = step
    elif failure is not None:
        step = int(failure["step"])
        start = max((found for found in steps if found <= step), default=0)
    else:
        raise CheckpointError(
            f"{str(path)!r} has no failed step: choose one with --step from {steps}"
        )
    experiment, objective, state, slots = _begun(path, folder, start)
    stream = replace(experiment.tasks, seed=experiment.seed)
    if start < step:
        log.warning("there is no checkpoint of step %d: going on from step %d", step, start)
        for record in train(
            experiment.method, objective, stream, steps=step, num_tasks=experiment.num_tasks,
            outer=experiment.outer, state=state, slots=slots or None,
            exact=experiment.deterministic,
        ):  # fmt: skip
            objective = objective.planned(record.plan)
        state, slots = record.state, record.slots
    axis = TaskAxis(experiment.num_tasks, exact=experiment.deterministic)
    episodes = tree.to(checked(stream, "train", step, axis.tasks), objective.place())
    found = meta_gradient(experiment.method, objective, state, episodes, axis)
    same = failure if failure is not None and failure["step"] == step else None
    return _looked(found, same, state, slots)


def _failure(path: Path, needed: bool) -> dict[str, Any] | None:
    """Return what the run wrote down; if it is damaged and not needed, None with a warning."""
    try:
        return read_failure(path)
    except CheckpointError as error:
        if needed:
            raise
        log.warning("%s", error)
        return None


def _begun(
    path: Path, folder: RunDirectory, step: int
) -> tuple[Experiment, Objective, MetaState, Params]:
    """Return a run as it stood after ``step`` meta-steps, to be executed as it was."""
    if step != 0:
        experiment, state, slots = load_state(path, step)
        plan = from_tree(checkpoint.read(folder.checkpoints, step).state["plan"])
        return (
            experiment,
            experiment.objective().planned(replace(plan, compile=False)),
            state,
            slots,
        )
    experiment = stored(folder)
    if not torch.cuda.is_available():
        experiment = replace(experiment, device="cpu")
    objective = experiment.objective()
    return experiment, objective, initialise(experiment.method, objective, seed=experiment.seed), {}


def _looked(
    found: MetaStep, failure: dict[str, Any] | None, state: MetaState, slots: Params
) -> Replay:
    run = found.run
    columns = [*run.support_losses, *([] if run.losses is None else [run.losses])]
    lengths = [global_norm(row) for row in tree.unbind(found.rows)]
    before = [f"{name} before the step" for name in broken({**state.params, **slots})]
    return Replay(
        step=state.step,
        failure=failure,
        losses=torch.stack(columns, 1).detach().cpu(),
        lengths=torch.stack(lengths).detach().cpu(),
        broken=(*before, *broken({**found.grads, **found.running})),
    )


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
