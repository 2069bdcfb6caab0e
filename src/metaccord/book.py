"""What a run writes down while it trains: records, checkpoints, the best step, a failure."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

from metaccord import checkpoint
from metaccord.checkpoint import Checkpoint
from metaccord.errors import DataError, MetaccordError, NumericalError, PeerError
from metaccord.evaluate import evaluate
from metaccord.experiment import Experiment
from metaccord.objective import Objective
from metaccord.protocol import Protocol
from metaccord.records import Record
from metaccord.rundir import RunDirectory
from metaccord.serial import to_tree
from metaccord.stored import fingerprint, packed
from metaccord.watch import Watch

log = logging.getLogger("metaccord")


class Book:
    """The written side of one training.

    Args:
        experiment: What is trained.
        objective: Its model and criterion.
        folder: Where to write; None on a rank that only computes.
        start: Where the training goes on, if it does.
        world: Number of processes.
    """

    def __init__(
        self,
        experiment: Experiment,
        objective: Objective,
        folder: RunDirectory | None,
        start: Checkpoint | None,
        world: int,
    ) -> None:
        self.experiment, self.objective, self.folder = experiment, objective, folder
        self.world = 1 if experiment.deterministic else world  # where it makes a difference
        self.model = fingerprint(objective)
        self.last: Record | None = None
        self.best: dict[str, Any] = {}
        self.saved, self.begun = -1, 0
        self.watch = Watch()
        if start is not None:
            self.saved = self.begun = start.step
            self.best = dict(start.state["best"])
            vars(self.watch).update(start.state["watch"])
            self._compare(start.state.get("world", 1))

    def note(self, record: Record) -> None:
        """Write one record, with what is measured beside the meta-step."""
        self.last = record
        if self.watch(record):
            log.warning("%s", self.watch.message)
            record.extras["warning"] = self.watch.message
        every = self.experiment.validate_every
        if every and record.step % every == 0:
            record.extras["validation"] = self._validated(record)
        if self.folder is not None:
            self.folder.append(record.json())

    def is_due(self, record: Record) -> bool:
        """Say whether a checkpoint is to be written after this record."""
        return self.best.get("step") == record.step or self.experiment.saves_at(record.step)

    def save(self, record: Record) -> None:
        """Write a checkpoint of this record's state, once.

        Raises:
            NumericalError: if the last update has overflowed; on all ranks, which hold the same.
        """
        if record.step == self.saved:
            return
        tensors = packed(record.state, record.slots)
        if names := [k for k, v in tensors.items() if not v.isfinite().all()]:
            raise NumericalError(
                f"not finite at meta-step {record.step}: {', '.join(names[:4])} before the step; "
                "nothing was saved: lower outer.lr, or set outer.clip_norm=10"
            )
        if self.folder is None:
            return
        state = {
            "plan": to_tree(record.plan),
            "best": self.best,
            "watch": vars(self.watch),
            "run": self.folder.identity,
            "model": self.model,
            "threads": torch.get_num_threads(),
            "world": self.world,
        }
        self.folder.sync()
        checkpoint.write(
            self.folder.checkpoints,
            Checkpoint(record.step, tensors, state),
            best=self.best.get("step"),
            every=self.experiment.keep_every,
        )
        self.saved = record.step

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Save the last good state, and what went wrong, when a meta-step fails."""
        try:
            yield
        except PeerError:
            raise  # the others' state is not known: the newest checkpoint stands
        except (DataError, NumericalError) as error:
            self._fail(error)
            raise
        except MetaccordError:
            raise
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: Exception) -> None:
        if self.last is not None:
            with suppress(NumericalError):  # the last update itself may have overflowed
                self.save(self.last)
        if self.folder is not None:
            step = self.begun if self.last is None else self.last.step
            kind, message = type(error).__name__, " ".join(str(error).split())
            self.folder.write_failure({"step": step, "error": kind, "message": message})

    def _validated(self, record: Record) -> dict[str, Any]:
        protocol = Protocol(tasks=self.experiment.validation_tasks, split="validation")
        alike = self.objective.planned(record.plan)  # as a resumed run will measure
        method, tasks = self.experiment.method, self.experiment.tasks
        scores = evaluate(method, alike, record.state, tasks, protocol)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so
            loss, found = scores.loss.mean, scores.json()
        if math.isfinite(loss) and (not self.best or loss < self.best["loss"]):
            self.best = {"step": record.step, "loss": loss}
        return found

    def _compare(self, world: int) -> None:
        if world != self.world:
            log.warning(
                "resuming with %d processes instead of %d: equal to rounding, not to the bit",
                self.world, world,
            )  # fmt: skip
