"""From folders of runs to one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from metaccord import fs
from metaccord.errors import UsageError
from metaccord.protocol import Protocol
from metaccord.report.citing import entries
from metaccord.report.facts import Facts, read
from metaccord.report.measuring import measured
from metaccord.report.page import page
from metaccord.report.stories import Story, grouped, refuse_unlike

FILE = "report.html"


def write(
    runs: Sequence[Path],
    out: Path | None = None,
    *,
    protocol: Protocol | None = None,
    quick: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write one HTML file about runs of the same tasks, and return where it is.

    Args:
        runs: Folders; runs that differ in their seed alone are shown as one method.
        out: The file; None: ``report.html`` in the first folder.
        protocol: How unseen tasks are drawn and measured.
        quick: Compute nothing; show what records and earlier reports hold.
        say: Called with a line before each computation.

    Raises:
        UsageError: without runs, for runs of different tasks, or if ``out`` cannot be a file.
        CheckpointError: if settings or records of a run are damaged.
        ResourceError: if the file cannot be written.
    """
    folders = list(dict.fromkeys(runs))
    if not folders:
        raise UsageError("report needs the folder of a run, such as runs/sinusoid-maml-0")
    facts = [read(folder) for folder in folders]
    refuse_unlike(facts)
    target = _target(folders[0] / FILE if out is None else out)
    stories = [_story(one, protocol or Protocol(), say, quick) for one in facts]
    document = page(grouped(stories), entries(facts))
    fs.write_atomic(target, document.encode())
    return target


def _story(facts: Facts, protocol: Protocol, say: Callable[[str], None], quick: bool) -> Story:
    parts, remarks = measured(facts, protocol, say, quick=quick)
    return Story(facts, parts, tuple(remarks))


def _target(path: Path) -> Path:
    """Return the file's path after its folder was made.

    Raises:
        UsageError: if it is a folder, or its folder cannot be one.
    """
    if path.is_dir():
        raise UsageError(
            f"--out {str(path)!r} is a folder: name a file, such as {str(path / FILE)!r}"
        )
    try:
        fs.make(path.parent)
    except OSError as error:
        raise UsageError(
            f"--out {str(path)!r}: {str(path.parent)!r} cannot be a folder ({error.strerror})"
        ) from error
    return path
