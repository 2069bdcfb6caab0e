"""The small training that the checks of files disturb, and what must be equal afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

from metaccord import checkpoint
from metaccord.checkpoint_files import folder_name
from metaccord.defaults import default
from metaccord.experiment import Experiment
from metaccord.records import Record
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import CHECKPOINTS, RECORDS, RUN
from metaccord.runs import run

CLOCK = "seconds"  # the one field of a record that no two runs share
SETTINGS = (
    "plan.chunk=all", "model.hidden=[8]", "num_tasks=4", "tasks.shots=5", "checkpoint_every=2",
    "validate_every=3", "validation_tasks=4", "threads=1",
)  # fmt: skip


def trial(
    *settings: str, base: str = "maml", extra: tuple[str, ...] = ("agreement",)
) -> Experiment:
    """Return a training on sine waves, a few milliseconds a step, that saves and validates often.

    Args:
        settings: Changes such as ``steps=12``.
        base: The base method.
        extra: Interactions over it.
    """
    return default("sinusoid", base, list(extra)).changed([*SETTINGS, *settings])


def go_on(
    experiment: Experiment, folder: Path, stop: Callable[[], bool] = lambda: False
) -> Iterator[Record]:
    """Train unattended: begin, or go on with what the folder holds."""
    return run(experiment, folder, resume=(folder / RUN).exists(), stop=stop)


def differences(found: Path, expected: Path) -> list[str]:
    """Return how a disturbed run differs from an undisturbed one; clocks and left-overs apart.

    The last and the best checkpoint must be there with the same bytes (parameters, optimiser
    slots, running statistics, plan), and so must be whatever others both have.

    Args:
        found: Folder of the disturbed run.
        expected: Folder of the other.
    """
    wrong = []
    if (found / RUN).read_bytes() != (expected / RUN).read_bytes():
        wrong.append(f"{RUN} differs")
    last = checkpoint.read(expected / CHECKPOINTS)
    needed = {place(expected, step) for step in (last.step, last.state["best"].get("step", 0))}
    for file in sorted((expected / CHECKPOINTS).rglob("*.*")):
        twin = found / file.relative_to(expected)
        if twin.exists() and twin.read_bytes() != file.read_bytes():
            wrong.append(f"{file.relative_to(expected)} differs")
        elif not twin.exists() and file.parent in needed:
            wrong.append(f"{file.relative_to(expected)} is missing")
    wrong += [f"{path.name} was put aside" for path in (found / CHECKPOINTS).glob("*.corrupt")]
    return [*wrong, *_other_records(found, expected)]


def _other_records(found: Path, expected: Path) -> list[str]:
    """Return the first record that differs, clocks apart."""
    ours, theirs = (RunDirectory.read(path).records() for path in (found, expected))
    for number, (one, other) in enumerate(zip_longest(ours, theirs), start=1):
        if one is None or other is None:
            return [f"{RECORDS} has {len(ours)} records, expected {len(theirs)}"]
        if {**one, CLOCK: 0} != {**other, CLOCK: 0}:
            return [f"{RECORDS}, line {number} differs"]
    return []


def place(folder: Path, step: int) -> Path:
    """Return where a run keeps the checkpoint of ``step``."""
    return folder / CHECKPOINTS / folder_name(step)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
