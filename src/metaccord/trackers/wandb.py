"""Weights & Biases: an offline run in ``RUN/trackers/wandb``, to be synchronised at will."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaccord import fs
from metaccord.trackers.base import Tracker

MARK, STEPS = "run.id", "steps"


class WandB(Tracker):
    """One W&B run, which a resumed training goes on with; ``wandb sync`` uploads it.

    Nothing goes over the network unless WANDB_MODE says ``online``. An offline run cannot be
    asked what it holds, so that the steps are noted beside it.

    Args:
        folder: Of the run's files, and of the mark that names it.
        settings: What was trained; they become the configuration.
    """

    name = "wandb"

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import wandb

        fs.make(folder)
        mark, self._noted = folder / MARK, folder / STEPS
        if not mark.exists():
            fs.write_atomic(mark, secrets.token_hex(4).encode())
        if not self._noted.exists():
            fs.write(self._noted, b"")
        lines = fs.read(self._noted).split(b"\n")[:-1]  # a torn last line is no step
        self._end = sum(len(line) + 1 for line in lines)
        super().__init__(int(lines[-1]) if lines else 0)
        self._run = wandb.init(
            project="metaccord",
            id=fs.read(mark, 1000).decode().strip(),
            name=folder.resolve().parent.parent.name,
            dir=str(folder),
            config=settings,
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Note the step, then log it: a step may be lost with its process, never come twice."""
        self._end = fs.append(self._noted, f"{step}\n".encode(), self._end)
        self._run.log(dict(values), step=step)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()
