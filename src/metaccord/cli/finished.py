"""What ``metaccord compare`` is given that is finished: runs, seeds of one method, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metaccord.cli.evaluate import scored
from metaccord.cli.tables import Results
from metaccord.errors import UsageError
from metaccord.experiment import Experiment
from metaccord.protocol import Protocol
from metaccord.rundir import RunDirectory, compare_config
from metaccord.rundir_files import RUN
from metaccord.scores import Scores
from metaccord.stored import refuse_other_tasks, stored

_TRAINED = ("tasks", "model", "method", "outer", "steps", "num_tasks")  # what seeds share


def finished(what: Sequence[str], protocol: Protocol, *, across: bool) -> Results:
    """Return the scores of each of several methods, one for each seed.

    Args:
        what: Folders of runs, folders that hold one run per seed, or files of scores.
        protocol: How runs are measured; files were measured already.
        across: Runs of other tasks may be compared.

    Raises:
        UsageError: for runs of other tasks, a word that is given twice, a protocol for files, and
            a folder whose runs are not seeds of one training.
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
    made = {run: stored(RunDirectory.read(run)) for run in runs}
    if not across and made:
        refuse_other_tasks({run: one.tasks for run, one in made.items()})
    for found in folders.values():
        _refuse_no_seeds({run: made[run] for run in found})
    return {
        name: [scored(run, protocol)[0] for run in folders[name]]
        if name in folders
        else [Scores.read(name)]
        for name in what
    }


def _refuse_no_seeds(made: dict[Path, Experiment]) -> None:
    """Raise UsageError unless runs are one training, each with a seed of its own."""
    trees = {
        run: replace(one, tasks=replace(one.tasks, seed=0)).tree() for run, one in made.items()
    }
    first, seeds = next(iter(trees)), dict[int, Path]()
    for run, tree in trees.items():
        pair = ({part: one[part] for part in _TRAINED} for one in (trees[first], tree))
        if lines := compare_config(*pair):
            raise UsageError(
                f"{run} is no other seed of {first} ({lines[0]}): name runs of different methods "
                "one by one"
            )
        if (other := seeds.setdefault(made[run].seed, run)) != run:
            raise UsageError(
                f"{run} has the seed of {other}, {made[run].seed}: an interval over seeds needs "
                "different ones, take one run away"
            )


def _runs(path: Path) -> list[Path]:
    """Return the folder if it holds a run, else the runs in it: one for each seed."""
    if (path / RUN).is_file():
        return [path]
    return sorted((found.parent for found in path.glob(f"*/{RUN}")), key=_by_number)


def _by_number(path: Path) -> tuple[str, int]:
    """Sort ``seed-10`` behind ``seed-9``."""
    word = path.name.rstrip("0123456789")
    return word, int(path.name[len(word) :] or -1)
