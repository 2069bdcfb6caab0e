"""What sources over a user's own data have in common: data, splits, fingerprint."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from metaccord.codings import Coding
from metaccord.errors import DataError, UsageError
from metaccord.tasks.source import SPLITS, TaskSource
from metaccord.tasks.splits import Division, Integers, divide, named, names_in

log = logging.getLogger("metaccord")


class Content:
    """Data as read, shared by all values over them, with what was made of them so far.

    Attributes:
        digest: SHA-256 of the data.
        where: What messages call them.
    """

    def __init__(self, digest: str, where: str) -> None:
        self.digest, self.where = digest, where
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what ``make`` gives, made once for each key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Layout(NamedTuple):
    """Who is in which split, and which rows are whose.

    Attributes:
        names: Of classes or groups.
        pools: Rows of each, ``[count]``.
        members: Places in ``names``, by split.
        coding: What raw data become.
        fingerprint: Hash of the data, and of the split.
    """

    names: tuple[str, ...]
    pools: tuple[Integers, ...]
    members: dict[str, Integers]
    coding: Coding
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class OwnData(TaskSource):
    """What sources over a user's own data have in common; see :class:`Arrays`, :class:`Table`.

    Args:
        path: The file; empty if the data are in memory.
        folder: Working folder in which a relative path was given, written down by a run: the file
            is looked for from there if it is not there from the present one.
        split, split_seed, train, validation, test: See :class:`metaccord.tasks.splits.Division`.
        minimum: Rows that a group or class needs; those with fewer are left out, with a notice.
            None: one more than the support set takes.
        accept_leaks: Go on, with a warning, where identical rows lie in different splits.
        fingerprint: Hash of the data and of the split, written down by a run; other data are
            refused. Empty: whatever the data are.
        data: Data in memory; they are not stored with a run, their fingerprint is.
    """

    path: str = ""
    folder: str = ""
    split: tuple[float, float, float] | None = None
    split_seed: int = 0
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    minimum: int | None = None
    accept_leaks: bool = False
    fingerprint: str = ""
    data: Any = field(default=None, repr=False, compare=False, metadata={"stored": False})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split is not None and not isinstance(self.split, str):  # a table's column
            object.__setattr__(self, "split", tuple(self.split))
        for name in SPLITS:
            object.__setattr__(self, name, names_in(getattr(self, name)))
        if self.minimum is not None and self.minimum < 2:
            raise UsageError(
                f"tasks.minimum is {self.minimum}: a task needs at least 2 rows, one to learn "
                "from and one to judge by"
            )

    @abstractmethod
    def read(self) -> Content:
        """Return the data in the file ``path``."""

    @abstractmethod
    def laid_out(self, content: Content) -> Layout:
        """Return names, rows, splits and coding of the data, checked for leaks."""

    def place(self) -> Path:
        """Return where the file is."""
        path = Path(self.path).expanduser()
        return Path(self.folder) / path if self.folder and not path.exists() else path

    def held(self) -> Content:
        """Return the data.

        Raises:
            DataError: if they are not there, or cannot be read.
        """
        if self.data is not None:
            return self.data
        if self.path:
            return self.read()
        raise DataError(
            "these tasks' data were in the memory of the program that trained: make the tasks "
            "again there, and call mc.evaluate(..., tasks) or mc.run(..., resume=True) with them"
        )

    def layout(self) -> Layout:
        """Return names, rows, splits and coding.

        Raises:
            DataError: if the data cannot be used, or are not those of the fingerprint.
        """
        content = self.held()
        key = replace(self, seed=0, folder="", fingerprint="", **self.unfitted(), data=None)
        found: Layout = content.once(key, lambda: self.laid_out(content))
        if self.fingerprint not in ("", found.fingerprint):
            raise DataError(
                f"{content.where} has changed: its fingerprint is {found.fingerprint[:12]}, the "
                f"run was made with {self.fingerprint[:12]}; restore it, or train anew in another "
                "--out"
            )
        return found

    def unfitted(self) -> dict[str, Any]:
        """Return fields, other than the fingerprint, that are written down from the data."""
        return {}

    def names(self, split: str) -> tuple[str, ...]:
        """Return the names of all classes or groups; see the base class."""
        super().names(split)
        return self.layout().names

    def members(self, split: str) -> tuple[str, ...]:
        """Return the names of the classes or groups of a split."""
        every = self.names(split)
        return tuple(every[i] for i in self.layout().members[split])

    def settled(self) -> Self:
        """Return the same with fingerprint and folder written down; see the base class."""
        relative = self.path and not Path(self.path).expanduser().is_absolute()
        folder = self.folder or (str(Path.cwd()) if relative else "")
        return replace(self, folder=folder, fingerprint=self.layout().fingerprint)

    def least(self) -> int:
        """Return how many rows a group or class needs."""
        return self.minimum or max(self.shots, self.train_shots or 0) + 1

    def kept(self, names: list[str], rows: list[Integers], what: str) -> list[int]:
        """Return the places of groups or classes with enough rows; the others are named."""
        few = [names[i] for i, own in enumerate(rows) if len(own) < self.least()]
        if few:
            log.warning(
                "left out, because with fewer than %d rows (tasks.minimum): %s %s",
                self.least(), what, named(few),
            )  # fmt: skip
        for split in SPLITS:
            for name in getattr(self, split):
                if name in few:
                    count = len(rows[names.index(name)])
                    raise DataError(
                        f"tasks.{split} names the {what} {name!r}, which is left out: it has "
                        f"{count} rows, and a task needs {self.least()}; name another, give it "
                        "more rows, or lower tasks.shots or tasks.minimum"
                    )
        return [i for i, own in enumerate(rows) if len(own) >= self.least()]

    def divided(self, names: list[str], what: str, least: int = 1) -> dict[str, Integers]:
        """Return the places of the names of each split."""
        division = Division(self.split, self.split_seed, self.train, self.validation, self.test)
        if len(names) < 2:
            raise DataError(
                f"a task needs a {what} of at least {self.least()} rows, and there are "
                f"{len(names)}: at least 2 are needed, one to train on and one to test with; give "
                "more data or lower tasks.shots"
            )
        folded: dict[str, str] = {}
        for name in names:
            if (before := folded.setdefault("".join(name.casefold().split()), name)) != name:
                log.warning(
                    "%ss %r and %r differ in spaces or capitals alone: if they are one, tasks leak "
                    "between splits", what, before, name,
                )  # fmt: skip
        return divide(names, division, what, least)


def fingerprint_of(content: Content, names: list[str], members: dict[str, Integers]) -> str:
    """Return the hash of the data and of who is in which split."""
    split = {name: [names[i] for i in members[name]] for name in SPLITS}
    return hashlib.sha256(json.dumps([content.digest, split]).encode()).hexdigest()


def split_of_rows(count: int, pools: list[Integers], members: dict[str, Integers]) -> Integers:
    """Return the number of each row's split, -1 for rows of none: ``[count]``."""
    found = np.full(count, -1, np.int64)
    for number, split in enumerate(SPLITS):
        for i in members[split]:
            found[pools[i]] = number
    return found


def version_of(path: Path) -> tuple[int, ...]:
    """Return what changes with a file.

    Raises:
        DataError: if it is not there.
    """
    try:
        found = path.expanduser().stat()
    except OSError as error:
        raise DataError(
            f"file {path} cannot be read from {Path.cwd()} ({error.strerror}): check the path"
        ) from error
    return found.st_mtime_ns, found.st_size, found.st_ino
