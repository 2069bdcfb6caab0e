"""What a run does with its folder, and what must hold when a file-system call fails meanwhile."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import torch
from failing import FailingOs

from metaccord import checkpoint
from metaccord.checkpoint import Checkpoint
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import CHECKPOINTS

KEPT, NEW = 2, 3  # the steps that are saved before, and during the fault
BEFORE = tuple({"step": step} for step in range(1, KEPT + 3))  # two records behind the checkpoint


def state(step: int) -> Checkpoint:
    """Return a small state that no other step has."""
    return Checkpoint(step, {"w": torch.full((8,), float(step))}, {"step": step})


@dataclass(frozen=True)
class Operation:
    """Something that a run does with its folder.

    Attributes:
        name: What it is called in reports.
    """

    name: str

    def prepare(self, run: Path) -> None:
        """Make the folder that the operation begins with: a run with two checkpoints."""
        with RunDirectory.create(run, {"lr": 0.1}) as folder:
            for record in BEFORE:
                folder.append(record)
            for step in range(1, KEPT + 1):
                checkpoint.write(folder.checkpoints, state(step))
            (folder.checkpoints / ".trash-step-000000").mkdir()

    def act(self, run: Path) -> None:
        """Do it; the calls in here fail."""
        raise NotImplementedError

    def wrong(self, run: Path, failing: FailingOs, *, done: bool) -> str | None:
        """Say what promise is broken after ``failing``; ``done``: :meth:`act` returned."""
        raise NotImplementedError


class Save(Operation):
    """Write a checkpoint and remove the oldest."""

    def act(self, run: Path) -> None:
        """Save, rotate, and sweep what is left of an earlier rotation."""
        checkpoint.write(run / CHECKPOINTS, state(NEW))

    def wrong(self, run: Path, failing: FailingOs, *, done: bool) -> str | None:
        """Compare what is left with what was claimed; the next save heals the rest."""
        folder = run / CHECKPOINTS
        for step in checkpoint.saved(folder):
            checkpoint.verify(folder / f"step-{step:06d}")
        found = checkpoint.read(folder)
        if found.step < (NEW if done else KEPT) or not _equal(checkpoint.read(folder, KEPT), KEPT):
            return "a checkpoint is lost"
        if not _equal(found, found.step):
            return f"step {found.step} holds something else"
        self.act(run)
        names = sorted(path.name for path in folder.iterdir())
        return None if names == ["step-000002", "step-000003"] else f"left behind: {names}"


class Log(Operation):
    """Append a record."""

    def act(self, run: Path) -> None:
        """Open, cut, append, sync."""
        with RunDirectory.open(run) as folder:
            folder.append({"step": 5, "text": "long enough to be cut in two"})
            folder.sync()

    def wrong(self, run: Path, failing: FailingOs, *, done: bool) -> str | None:
        """Ask that the older records are there, and the new one if it was claimed."""
        found = RunDirectory.read(run).records()
        if found[: len(BEFORE)] != list(BEFORE) or (done and len(found) != len(BEFORE) + 1):
            return f"the log holds {len(found)} records"
        with RunDirectory.open(run) as folder:
            folder.append({"step": 6})
        return None if RunDirectory.read(run).records()[-1] == {"step": 6} else "not healed"


class Resume(Operation):
    """Go on from the newest checkpoint."""

    def act(self, run: Path) -> None:
        """Open, read, cut, append."""
        with RunDirectory.open(run) as folder:
            found = checkpoint.read(folder.checkpoints)
            folder.cut(found.step)
            folder.append({"step": found.step + 1})
            if not _equal(found, found.step):
                raise LookupError(f"step {found.step} holds something else")

    def wrong(self, run: Path, failing: FailingOs, *, done: bool) -> str | None:
        """Ask that a resume succeeds now, from the same step.

        A defect of the disk (EIO) is damage: the checkpoint is put aside, not removed, and the
        older one serves.
        """
        del done
        kept = list((run / CHECKPOINTS).glob("step-*"))
        steps = checkpoint.saved(run / CHECKPOINTS)
        least = KEPT - 1 if failing.code == errno.EIO else KEPT
        if len(kept) != KEPT or not steps or steps[-1] < least:
            return f"of {KEPT} checkpoints {sorted(path.name for path in kept)} are left"
        self.act(run)
        expected = [*BEFORE[: steps[-1]], {"step": steps[-1] + 1}]
        return None if RunDirectory.read(run).records() == expected else "the log differs"


class Start(Operation):
    """Create a run."""

    def prepare(self, run: Path) -> None:
        """Begin with nothing."""

    def act(self, run: Path) -> None:
        """Create."""
        RunDirectory.create(run, {"lr": 0.1}).close()

    def wrong(self, run: Path, failing: FailingOs, *, done: bool) -> str | None:
        """Ask that the run is there if it was claimed, and else that it can be created."""
        if not (run / "run.json").exists():
            if done:
                return "claimed, and nothing there"
            self.act(run)
        with RunDirectory.open(run) as folder:
            return None if folder.config == {"lr": 0.1} else "another configuration"


OPERATIONS = (Save("save"), Log("log"), Resume("resume"), Start("start"))


def _equal(found: Checkpoint, step: int) -> bool:
    expected = state(step)
    same = torch.equal(found.tensors["w"], expected.tensors["w"])
    return bool(same) and (found.step, found.state) == (step, expected.state)
