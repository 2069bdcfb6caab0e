"""The folder of one run: its configuration, its records, its checkpoints, and who may write.

``run.json`` holds the configuration, sealed by its SHA-256; it is written last, so a folder is a
run exactly if it has this file. ``records.jsonl`` holds one JSON object per line, each with its
``step``; non-finite numbers are written as ``{"$float": "nan"}`` (see :mod:`metaccord.jsontree`).
``checkpoints/`` belongs to :mod:`metaccord.checkpoint`. ``.lock`` names the host and process that
writes; the kernel frees it when that process ends.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError, UsageError
from metaccord.rundir_files import (
    CHECKPOINTS,
    FAILURE,
    RECORDS,
    RUN,
    Lock,
    has_step,
    read_config,
    refuse_content,
    refuse_missing,
    scan,
)

_log = logging.getLogger(__name__)


class RunDirectory:
    """One run on disk; a context manager that gives the lock back.

    Make one with :meth:`create`, :meth:`open` or :meth:`read`, never directly.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: Lock | None) -> None:
        self.path = path
        self._config = config
        self._lock = lock
        self._end = 0

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> Self:
        """Start a run in a new or empty folder and lock it.

        Raises:
            UsageError: if the folder holds a run or anything else, or ``config`` is no JSON tree.
            ResourceError: if the machine cannot write.
        """
        document = jsontree.seal(dict(config), "config")
        try:
            fs.make(path)
        except OSError as error:
            message = f"{str(path)!r} cannot be a folder ({error.strerror}): choose another --out"
            raise UsageError(message) from error
        refuse_content(path)
        lock = Lock(path)
        try:
            refuse_content(path)  # Another process may have been faster.
            fs.make(path / CHECKPOINTS)
            fs.write(path / RECORDS, b"")
            fs.write_atomic(path / RUN, document)
            return cls(path, jsontree.unseal(document), lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock an existing run to go on with it; a torn last record is cut off with a warning.

        Raises:
            UsageError: if the folder holds no run, or another process writes to it.
            CheckpointError: if ``run.json`` is damaged or ``records.jsonl`` is missing.
            ResourceError: if the machine cannot read or write.
        """
        refuse_missing(path)
        lock = Lock(path)
        try:
            run = cls(path, read_config(path), lock)
            for name in fs.names(path):
                if name.endswith(".staging"):  # A process died while it replaced a file.
                    fs.remove(path / name)
            log = scan(path / RECORDS)
            if log.torn:
                fs.truncate(path / RECORDS, log.end)
            run._end = log.end
            return run
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read(cls, path: Path) -> Self:
        """Look at a run without locking it; nothing can be written through the result.

        Raises:
            UsageError: if the folder holds no run.
            CheckpointError: if ``run.json`` is damaged.
            ResourceError: if the machine cannot read.
        """
        refuse_missing(path)
        return cls(path, read_config(path), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back; calling it twice is allowed."""
        if self._lock is not None:
            self._lock.release()

    @property
    def config(self) -> dict[str, Any]:
        """What the run was created with, as a copy; tuples have become lists."""
        return copy.deepcopy(self._config)

    @property
    def identity(self) -> str:
        """A hash of the configuration, which its checkpoints carry: none serves another run."""
        return jsontree.digest(self._config, "config")

    @property
    def checkpoints(self) -> Path:
        """The folder for :mod:`metaccord.checkpoint`."""
        return self.path / CHECKPOINTS

    def append(self, record: dict[str, Any]) -> None:
        """Add one record and hand it to the operating system.

        Args:
            record: A JSON tree with the whole number ``step``.

        Raises:
            UsageError: if the run is not locked by us, or the record cannot be stored.
            ResourceError: if the machine cannot write; the earlier records are untouched.
        """
        self._must_be_locked("append")
        if not has_step(record):
            raise UsageError(f"record has no whole number 'step': found {record.get('step')!r}")
        line = jsontree.encode(record, "record").encode() + b"\n"
        self._end = fs.append(self.path / RECORDS, line, self._end)

    def sync(self) -> None:
        """Wait until all records are on the disk; call it before each checkpoint."""
        self._must_be_locked("sync")
        fs.sync(self.path / RECORDS)

    def records(self) -> list[dict[str, Any]]:
        """Return all records; a torn last line is dropped with a warning.

        Raises:
            CheckpointError: if a line in the middle is damaged.
        """
        log = scan(self.path / RECORDS)
        if log.damage is not None:
            raise CheckpointError(log.damage)
        return log.records

    def cut(self, step: int) -> None:
        """Keep the records of steps up to and including ``step``, in one indivisible change.

        Damaged lines behind a record of ``step`` or later come from the time after the last
        :meth:`sync`; they are dropped with a warning.

        Raises:
            UsageError: if the run is not locked by us.
            CheckpointError: if a record that must be kept is damaged.
            ResourceError: if the machine cannot write; the records are untouched.
        """
        self._must_be_locked("cut")
        log = scan(self.path / RECORDS)
        if log.damage is not None:
            if not log.records or log.records[-1]["step"] < step:
                raise CheckpointError(log.damage)
            _log.warning("%s: dropped, because the run goes on from step %d", log.damage, step)
        lines = [line for line, r in zip(log.lines, log.records, strict=True) if r["step"] <= step]
        content = b"".join(lines)
        if log.damage is not None or len(content) != log.end:
            fs.write_atomic(self.path / RECORDS, content)
        self._end = len(content)

    def write_failure(self, facts: dict[str, Any]) -> None:
        """Write down which meta-step failed and how, in place of an earlier failure."""
        self._must_be_locked("write_failure")
        fs.write_atomic(self.path / FAILURE, jsontree.seal(facts, "failure"))

    def _must_be_locked(self, verb: str) -> None:
        if self._lock is None or not self._lock.held:
            raise UsageError(f"{verb} needs the lock of {str(self.path)!r}: use RunDirectory.open")


def compare_config(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one line ``dotted.key: old in the run, new now`` for each difference.

    Tuples equal lists, 1 equals 1.0 but not True, and nan equals nan.

    Args:
        old: The configuration of the run.
        new: The configuration asked for now.
    """
    before = dict(_leaves(jsontree.decode(jsontree.encode(old, "config")), ""))
    after = dict(_leaves(jsontree.decode(jsontree.encode(new, "config")), ""))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key}: {_shown(before, key)} in the run, {_shown(after, key)} now"
        for key in keys
        if key not in before or key not in after or not _same(before[key], after[key])
    ]


def _leaves(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Walk to every value that is neither a filled dict nor a filled list."""
    if isinstance(tree, dict) and tree:
        for name, item in tree.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    elif isinstance(tree, list) and tree:
        for index, item in enumerate(tree):
            yield from _leaves(item, f"{key}[{index}]")
    else:
        yield key, tree


def _same(one: Any, other: Any) -> bool:
    both_nan = one != one and other != other
    return both_nan or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _shown(leaves: dict[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "absent"
