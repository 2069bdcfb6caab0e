"""Checkpoints that cannot be lost: nothing good is removed before its successor was read back.

A save stages the files beside their place, waits for the disk, renames once, reads everything
back, and only then removes older checkpoints. Loading checks every byte and walks back to the
newest intact checkpoint. Only the process that holds the run's lock may write.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from metaccord import fs
from metaccord.checkpoint_files import MANIFEST, Checkpoint, DamagedError, folder_name, load, pack
from metaccord.errors import CheckpointError, ResourceError, UsageError
from metaccord.staging import staged

__all__ = ["Checkpoint", "read", "rewind", "saved", "sweep", "verify", "write"]

_STAGING, _TRASH = ".staging-", ".trash-"
_SLACK = 1 << 16
_log = logging.getLogger(__name__)


def write(
    folder: Path, checkpoint: Checkpoint, *, keep: int = 2, best: int | None = None, every: int = 0
) -> Path:
    """Save a checkpoint; when this returns it is on the disk and was read back.

    A name is never used for two contents: saving the same step again is accepted only if nothing
    changed. An old checkpoint that cannot be removed is a warning, not an error.

    Args:
        folder: Where the checkpoints of the run lie; created if missing.
        checkpoint: What to save.
        keep: How many verified checkpoints to keep, at least 1.
        best: A step whose checkpoint is kept as well.
        every: Checkpoints at multiples of this step are kept as well; 0: none.

    Returns:
        The folder of the new checkpoint.

    Raises:
        NumericalError: if a tensor is not finite; nothing was written.
        CheckpointError: if there is a newer checkpoint or another one of this step (see
            :func:`rewind`), or if the disk returns other bytes than it was given.
        ResourceError: if the machine cannot write; older checkpoints are untouched.
        UsageError: if an argument is out of range or cannot be stored.
    """
    if keep < 1 or every < 0:
        raise UsageError(f"keep={keep} and every={every}: they must be at least 1 and at least 0")
    files = pack(checkpoint)
    target = folder / folder_name(checkpoint.step)
    try:
        fs.make(folder)
        sweep(folder)
        if not _is_saved(target, checkpoint.step, files[MANIFEST]):
            _commit(target, files)
    except OSError as error:
        raise ResourceError(f"cannot save {str(target)!r}: {error}; check the folder") from error
    try:
        _rotate(folder, checkpoint.step, keep, best, every)
    except (CheckpointError, ResourceError, OSError) as error:
        _log.warning("older checkpoints stay: %s", error)
    return target


def read(folder: Path, step: int | None = None) -> Checkpoint:
    """Load the newest intact checkpoint, or exactly the one of ``step``.

    Without ``step`` a damaged checkpoint is renamed to ``*.corrupt`` with a warning, and the next
    older one is used.

    Raises:
        CheckpointError: if there is none, if that of ``step`` is missing or damaged, or if it was
            written in another format.
        ResourceError: if the machine cannot read.
    """
    steps = saved(folder)
    if step is not None:
        if step not in steps:
            raise CheckpointError(
                f"there is no checkpoint of step {step!r} in {str(folder)!r}: choose from {steps}"
            )
        return load(folder / folder_name(step))
    vanished = False
    for found in reversed(steps):
        path = folder / folder_name(found)
        try:
            return load(path)
        except DamagedError as error:
            vanished |= not _quarantine(path, error)
        except ResourceError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EIO:
                raise
            vanished |= not _quarantine(path, error)
    if vanished:  # The run's own process rotated meanwhile, so there is a newer one.
        return read(folder)
    what = f"intact checkpoint among {len(steps)}" if steps else "checkpoint"
    raise CheckpointError(
        f"there is no {what} in {str(folder)!r}: restore a backup or start again in another --out"
    )


def verify(path: Path) -> None:
    """Check every byte of one checkpoint folder and that its tensors are finite.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
        ResourceError: if the machine cannot read.
    """
    load(path)


def sweep(folder: Path) -> None:
    """Remove what an earlier process left when it died during a save or a rotation.

    What cannot be removed is a warning, a missing ``folder`` is none.
    """
    with suppress(OSError):
        for name in fs.names(folder):
            if name.startswith((f"{_STAGING}step-", f"{_TRASH}step-")):
                try:
                    fs.remove(folder / name)
                except ResourceError as error:
                    _log.warning("a left-over folder stays: %s", error)


def rewind(folder: Path, step: int) -> None:
    """Put every checkpoint newer than ``step`` aside as ``*.superseded``; none is deleted.

    Call it before going on from an explicit older step, whose future will differ.

    Raises:
        ResourceError: if the machine cannot rename.
    """
    for newer in saved(folder):
        if newer > step:
            path = folder / folder_name(newer)
            fs.replace(path, _free_name(path, "superseded"))
            fs.sync(folder)


def saved(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, intact or not, in ascending order."""
    try:
        found = fs.names(folder)
    except OSError:
        return []
    numbers = [int(name[5:]) for name in found if re.fullmatch(r"step-[0-9]{6,18}", name)]
    return sorted(number for number in numbers if folder_name(number) in found)


def _free_name(path: Path, suffix: str) -> Path:
    """Return ``path.suffix``, or ``path.2.suffix`` and so on: nothing is overwritten."""
    taken = set(fs.names(path.parent))
    name, count = f"{path.name}.{suffix}", 1
    while name in taken:
        count += 1
        name = f"{path.name}.{count}.{suffix}"
    return path.with_name(name)


def _is_saved(target: Path, step: int, manifest: bytes) -> bool:
    """Whether exactly this checkpoint is there already; refuse to rewrite the past."""
    steps = saved(target.parent)
    if steps and steps[-1] > step:
        raise CheckpointError(
            f"step {step} cannot be saved in {str(target.parent)!r}, which holds step "
            f"{steps[-1]}: call checkpoint.rewind(folder, step) when going on from an older step"
        )
    if step not in steps:
        return False
    try:
        load(target)
    except DamagedError as error:
        _quarantine(target, error)
        return False
    if fs.read(target / MANIFEST) != manifest:
        raise CheckpointError(
            f"{str(target)!r} exists with other content, and a name is never used twice: "
            "call checkpoint.rewind(folder, step) with an older step or use another --out"
        )
    fs.sync(target.parent)
    return True


def _commit(target: Path, files: dict[str, bytes]) -> None:
    """Stage, rename, wait for the disk, read back."""
    folder = target.parent
    need, have = sum(map(len, files.values())) + _SLACK, fs.free(folder)
    if have < need:
        raise ResourceError(
            f"saving {str(target)!r} needs {need} bytes, the file system has {have}: "
            "free space or choose another --out"
        )
    staging = folder / f"{_STAGING}{target.name}-{os.getpid()}"
    with staged(staging, target):
        fs.make(staging)
        for name, content in files.items():
            fs.write(staging / name, content)
    try:
        load(target)
    except DamagedError as error:
        _quarantine(target, error)
        raise CheckpointError(f"the disk returns other bytes than were saved: {error}") from error


def _rotate(folder: Path, step: int, keep: int, best: int | None, every: int) -> None:
    """Keep ``step``, ``best``, multiples of ``every`` and ``keep`` intact ones; remove the rest."""
    older = [found for found in saved(folder) if found < step]
    if len(older) < keep:
        return
    intact = 1
    for found in reversed(older):
        path = folder / folder_name(found)
        if intact < keep:
            try:
                load(path)
                intact += 1
            except DamagedError as error:
                _quarantine(path, error)
        elif found != best and not (every and found % every == 0):
            trash = folder / f"{_TRASH}{path.name}"
            fs.replace(path, trash)  # One rename: a half-removed checkpoint never has its name.
            fs.remove(trash)


def _quarantine(path: Path, reason: Exception) -> bool:
    """Rename a damaged checkpoint to ``*.corrupt``; False if it has vanished meanwhile."""
    if path.name not in fs.names(path.parent):
        return False
    target = _free_name(path, "corrupt")
    try:
        fs.replace(path, target)
    except ResourceError as error:
        _log.warning("%s; it keeps its name: %s", reason, error)
    else:
        _log.warning("%s; renamed to %s", reason, target.name)
    return True
