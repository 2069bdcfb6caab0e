"""What ``metaccord compare`` is given that is finished: runs, seeds of one method, scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metaccord.cli.evaluate import scored
from metaccord.cli.tables import Results
from metaccord.errors import UsageError
from metaccord.protocol import Protocol
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import RUN
from metaccord.scores import Scores
from metaccord.stored import refuse_other_tasks, stored


def finished(what: Sequence[str], protocol: Protocol, *, across: bool) -> Results:
    """Return the scores of each of several methods, one for each seed.

    Args:
        what: Folders of runs, folders that hold one run per seed, or files of scores.
        protocol: How runs are measured; files were measured already.
        across: Runs of other tasks may be compared.

    Raises:
        UsageError: for runs of other tasks, a word that is given twice, and a protocol for files.
        DataError: for a file that holds no scores.
    """
    twice = [name for i, name in enumerate(what) if name in what[:i]]
    if twice:
        raise UsageError(f"{twice[0]!r} is given twice: a method is not compared with itself")
    folders: dict[str, list[Path]] = {}
    for name in what:
        path = Path(name)
        if not path.is_file():
            folders[name] = _runs(path) or [path]
        elif protocol != Protocol():
            raise UsageError(f"{name} says how it was measured: leave out --protocol and --tasks")
    runs = [run for found in folders.values() for run in found]
    tasks = {run: stored(RunDirectory.read(run)).tasks for run in runs}
    if not across and tasks:
        refuse_other_tasks(tasks)
    return {
        name: [scored(run, protocol)[0] for run in folders[name]]
        if name in folders
        else [Scores.read(name)]
        for name in what
    }


def _runs(path: Path) -> list[Path]:
    """Return the folder if it holds a run, else the runs in it: one for each seed."""
    if (path / RUN).is_file():
        return [path]
    return sorted((found.parent for found in path.glob(f"*/{RUN}")), key=_by_number)


def _by_number(path: Path) -> tuple[str, int]:
    """Sort ``seed-10`` behind ``seed-9``."""
    word = path.name.rstrip("0123456789")
    return word, int(path.name[len(word) :] or -1)
