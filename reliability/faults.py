"""Every n-th call of the file system fails: no checkpoint is lost, and no save is claimed falsely.

    python reliability/faults.py --json results/reliability/faults.json

Each call of a save with rotation, of a record's append, of a resume and of a start fails once, or
fails from then on, with each of seven error numbers. Afterwards the trouble is over, and the same
thing must succeed.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from failing import ERRNOS, FailingOs
from operations import OPERATIONS, Operation
from outcomes import main

from metaccord import fs
from metaccord.errors import MetaccordError, ResourceError
from metaccord.selftest import Cases, Outcome
from metaccord.selftest.trial import quiet

PROMISE = "a call that fails loses no checkpoint, claims no save, and the next try succeeds"


def faults(
    folder: Path,
    operations: Iterable[Operation] = OPERATIONS,
    codes: Sequence[int] = ERRNOS,
    lasting: Sequence[bool] = (False, True),
) -> Outcome:
    """Let each call of each operation fail.

    Args:
        folder: An existing folder to work in.
        operations: What is disturbed.
        codes: The error numbers.
        lasting: Whether only the n-th call fails (False) or all from it on (True).

    Returns:
        ``worst`` is the number of faults after which something was lost or falsely claimed.
    """
    start, fired, count = time.perf_counter(), 0, 0
    broken: list[str] = []
    parts = []
    with quiet():
        for operation in operations:
            origin = folder / f"{operation.name} before"
            with mock.patch.object(fs, "os", FailingOs()):
                operation.prepare(origin)
            calls = _calls(operation, copied(origin, folder / operation.name))
            parts.append(f"{operation.name}: {len(calls)} calls")
            for at in range(1, len(calls) + 1):
                for code in codes:
                    for persistent in lasting:
                        failing = FailingOs(at, code, persistent=persistent)
                        run = copied(origin, folder / operation.name)
                        wrong = _disturbed(operation, run, failing)
                        count += 1
                        fired += bool(failing.fired)
                        if wrong:
                            where = f"{operation.name}, call {at} ({calls[at - 1]})"
                            kind = "lasting" if persistent else "once"
                            name = errno.errorcode[code]
                            broken.append(f"{where}, {name}, {kind}: {wrong}")
    detail = ", ".join(parts)
    return Outcome.of_runs("failing calls", PROMISE, Cases(count, fired, broken), start, detail)


def copied(origin: Path, target: Path) -> Path:
    """Replace ``target`` by a copy of ``origin``, which may be missing."""
    shutil.rmtree(target, ignore_errors=True)
    if origin.exists():
        shutil.copytree(origin, target)
    return target


def _calls(operation: Operation, run: Path) -> list[str]:
    """Return the calls of the operation when none fails."""
    counting = FailingOs()
    with mock.patch.object(fs, "os", counting):
        operation.act(run)
    return counting.calls


def _disturbed(operation: Operation, run: Path, failing: FailingOs) -> str | None:
    """Act while calls fail, and say what is wrong then."""
    done = False
    try:
        with mock.patch.object(fs, "os", failing):
            operation.act(run)
        done = True
    except ResourceError as error:
        if errno.errorcode[failing.code] not in str(error):
            return f"the message does not name the error: {error}"
    except Exception as error:
        if not isinstance(error, MetaccordError):
            return f"{error!r} instead of an error with a remedy"
    try:
        with mock.patch.object(fs, "os", FailingOs()):
            return operation.wrong(run, failing, done=done)
    except MetaccordError as error:
        return f"not healed: {error}"


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    del seed
    yield faults(folder)


if __name__ == "__main__":
    main(__doc__, _checks)
