"""Look at every file of a folder of pictures and report all that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from metaccord.data.archives import read_whole
from metaccord.data.pictures.decode import FILE_BYTES, Form, decode
from metaccord.data.pictures.folders import survey
from metaccord.data.pictures.inventory import WORKERS
from metaccord.errors import DataError

_FORM = Form(8, "colour")


class Report(NamedTuple):
    """What a folder holds.

    Attributes:
        problems: All that is wrong, one sentence each.
        classes: Names and numbers of pictures, of those that can be read.
    """

    problems: tuple[str, ...]
    classes: tuple[tuple[str, int], ...]


def check(root: Path) -> Report:
    """Decode every picture of a folder of class folders and return all problems.

    Args:
        root: As for :func:`metaccord.data.pictures.folders.listed`.
    """
    found = survey(root)
    found.note_loose()
    problems = list(found.problems)
    classes = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for one in found.classes:
            wrong = [text for text in pool.map(_problem, _paths(root, one.files)) if text]
            problems += wrong
            name = f"{one.split}/{one.name}" if one.split else one.name
            classes.append((name, len(one.files) - len(wrong)))
            if not classes[-1][1]:
                problems.append(f"class {name!r} has no picture that can be read")
    return Report(tuple(problems), tuple(classes))


def _paths(root: Path, files: tuple[str, ...]) -> Iterator[Path]:
    return (root / name for name in files)


def _problem(path: Path) -> str | None:
    """Return what is wrong with a picture."""
    try:
        decode(read_whole(path, FILE_BYTES), _FORM, f"file {path}")
    except DataError as error:
        return str(error)
    return None
