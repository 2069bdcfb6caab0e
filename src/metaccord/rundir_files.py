"""The files of a run folder: the lock, the sealed configuration, the lines of the record log."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError, UsageError

RUN, RECORDS, CHECKPOINTS, LOCK = "run.json", "records.jsonl", "checkpoints", ".lock"
FAILURE = "failure.json"
_OWN = frozenset({RUN, RECORDS, CHECKPOINTS, LOCK, f".{RUN}.staging"})
_log = logging.getLogger(__name__)


class Lock:
    """The right to write to one run folder, held by one process.

    Raises:
        UsageError: if another process holds it, naming its host and process id.
        ResourceError: if the file system has no locks or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        self._descriptor = fs.lock(folder / LOCK, owner)
        if self._descriptor is None:
            raise UsageError(
                f"{str(folder)!r} is in use by {_owner(folder / LOCK)}: "
                "wait for it, end it, or choose another --out"
            )
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this process may write."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lock back; calling it twice is allowed."""
        if self._descriptor is not None:
            fs.unlock(self._descriptor)
            self._descriptor = None
        _locks.discard(self)

    def leave(self) -> None:
        """Drop a forked child's copy; the parent keeps the lock."""
        if self._descriptor is not None:
            fs.close(self._descriptor)
            self._descriptor = None


class Log(NamedTuple):
    """The record log, read up to its first damaged line.

    Attributes:
        records: The records before that line.
        lines: The same as written, with their line ends.
        end: Where the next record belongs: behind the last line that is not torn, bytes.
        torn: Whether the last line was cut short and is left out.
        damage: What is wrong in the middle, with file and line; None if nothing is.
    """

    records: list[dict[str, Any]]
    lines: list[bytes]
    end: int
    torn: bool
    damage: str | None


def scan(path: Path) -> Log:
    """Read the record log; a torn last line is left out with a warning.

    Raises:
        CheckpointError: if the file is missing.
        ResourceError: if the machine cannot read.
    """
    try:
        content = fs.read(path)
    except OSError as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({error.strerror}): restore it from a backup, "
            "or create an empty file to go on without the old records"
        ) from error
    lines = io.BytesIO(content).readlines()  # Splits at b"\n" only.
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
            continue
        where = f"{str(path)!r}, line {number}"
        if number == len(lines):
            _log.warning("%s was cut short when a process ended; it is left out", where)
            return Log(records, lines[:-1], len(content) - len(line), torn=True, damage=None)
        damage = f"{where} is damaged: expected one record; restore the file from a backup"
        tail = 0 if content.endswith(b"\n") else len(lines[-1])
        return Log(records, lines[: number - 1], len(content) - tail, bool(tail), damage)
    return Log(records, lines, len(content), torn=False, damage=None)


def has_step(record: Any) -> bool:
    """Whether ``record`` is a dict with the whole number ``step``."""
    step = record.get("step") if isinstance(record, dict) else None
    return isinstance(step, int) and not isinstance(step, bool)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises:
        CheckpointError: if a byte of it was changed, or it cannot be read.
        ResourceError: if the machine cannot read.
    """
    path = folder / RUN
    try:
        config = jsontree.unseal(fs.read(path, 1 << 24))
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged ({error}): restore it from a backup or start again in "
            "another --out"
        ) from error
    return config


def refuse_content(folder: Path) -> None:
    """Raise UsageError unless a run may be created in the existing ``folder``.

    What a process left that died while it created a run is no obstacle.
    """
    found = fs.names(folder)
    if RUN in found:
        raise UsageError(
            f"{str(folder)!r} already holds a run: go on with --resume or choose another --out"
        )
    foreign = sorted(set(found) - _OWN)
    if RECORDS in found and fs.read(folder / RECORDS):
        foreign.append(RECORDS)
    if CHECKPOINTS in found and fs.names(folder / CHECKPOINTS):
        foreign.append(CHECKPOINTS)
    if foreign:
        raise UsageError(
            f"{str(folder)!r} is no run and not empty, it holds {foreign[0]!r}: "
            "choose another --out"
        )


def refuse_missing(folder: Path) -> None:
    """Raise UsageError unless ``folder`` holds a run."""
    try:
        found = RUN in fs.names(folder)
    except OSError:
        found = False
    if not found:
        raise UsageError(
            f"{str(folder)!r} holds no run, it has no {RUN}: check the path or leave out --resume"
        )


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = jsontree.decode(line)
    except ValueError:
        return None
    return record if has_step(record) else None


def _owner(path: Path) -> str:
    try:
        owner = json.loads(fs.read(path, 1 << 12))
        return f"process {owner['pid']} on host {owner['host']!r}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _leave_locks_to_the_parent() -> None:
    """Close a forked child's copies, or data workers would hold the lock of a dead run."""
    for lock in list(_locks):
        lock.leave()
    _locks.clear()


os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Return what :meth:`~metaccord.rundir.RunDirectory.write_failure` wrote last, or None.

    Raises:
        CheckpointError: if the file is damaged.
    """
    if FAILURE not in fs.names(folder):
        return None
    try:
        found: dict[str, Any] = jsontree.unseal(fs.read(folder / FAILURE, 1 << 20))
    except ValueError as error:
        raise CheckpointError(
            f"{str(folder / FAILURE)!r} is damaged ({error}): name the step with --step"
        ) from error
    return found
