"""A folder of pictures, one folder for each class: N-way K-shot tasks from anybody's files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from metaccord.codings.pictures import PictureCoding
from metaccord.data.pictures.decode import Fit, Form, Mode
from metaccord.data.pictures.decoded import Decoded
from metaccord.data.pictures.folders import Listing, listed
from metaccord.data.pictures.reading import contents, opened, usual_form
from metaccord.errors import DataError, UsageError, unknown
from metaccord.tasks.picture_leaks import refuse_leaks, refuse_shared_names
from metaccord.tasks.picture_tasks import Held, Integers, PictureTasks
from metaccord.tasks.source import SPLITS
from metaccord.tasks.splits import Division, divide

log = logging.getLogger("metaccord")
TooFew = Literal["refuse", "leave_out"]


@dataclass(frozen=True, kw_only=True)
class Folders(PictureTasks):
    """Tell ``ways`` classes of pictures apart after ``shots`` pictures of each.

    Pictures are PNG or JPEG files of any size and mode, in one folder for each class. Classes are
    split into training, validation and test by a draw, unless the class folders lie in folders
    ``train``, ``validation`` (or ``val``; it may be missing) and ``test``. What is left open here
    is taken from the data when the value is made, and stored with the run: a run needs the folder
    only to draw from it, and refuses it if it has changed.

    Args:
        path: The folder.
        ways: Classes of one task; 0: as many as the smallest split has, at most 5.
        shots, train_shots: Pictures per class; see :class:`metaccord.tasks.TaskSource`.
        queries: Query pictures per class; 0: what the smallest class has left, at most 15.
        size: Height and width in pixels; None: 84, or 28 or 32 for small pictures.
        mode: ``"grey"``, ``"colour"`` or ``"ink"`` (dark on light paper becomes 1 on 0); None: grey
            if no picture has colours.
        fit: ``"stretch"`` whole pictures to a square, or ``"crop"`` their middle.
        split, split_seed, train, validation, test: Fractions or numbers of classes, or their names;
            see :class:`metaccord.tasks.splits.Division`.
        too_few: ``"refuse"`` classes with too few pictures, or ``"leave_out"``.
        accept_leaks: Accept identical pictures and classes of one name in different splits.
        mean, deviation: Of each channel; None: over all pictures of the training classes.
        fingerprint: Hash of names and contents of all files; None: as they are now.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, ways * n, channels, size, size] float32; targets [T, ways * n] int64, class by
        class; ``extra["classes"]`` [T, ways] int64, places in :meth:`names`.

    Raises:
        UsageError: for settings that contradict one another.
        DataError: if a file cannot be used, a class or split is too small, identical pictures lie
            in two splits, or the folder is not the one of the fingerprint.
    """

    path: str
    ways: int = 0
    queries: int = 0
    size: int | None = None
    mode: Mode | None = None
    fit: Fit = "stretch"
    split: tuple[float, float, float] | None = None
    split_seed: int = 0
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    too_few: TooFew = "refuse"
    accept_leaks: bool = False
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.too_few not in get_args(TooFew):
            raise unknown("tasks.too_few", self.too_few, get_args(TooFew))
        if min(self.ways, self.queries) < 0:
            raise UsageError(
                f"tasks.ways is {self.ways} and tasks.queries {self.queries}: use 0 to take them "
                "from the data, or more"
            )
        fresh = self.fingerprint is None
        if fresh:
            self._look()
        super().__post_init__()
        PictureCoding(*self._form(), *self._scale())
        if fresh:
            self._settle()
            for line in self._described():
                log.info("%s", line)
        _ = self.coding

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _look(self) -> None:
        """Fill in what the folder decides: fingerprint, form, and numbers of a task."""
        root = str(Path(self.path).expanduser().absolute())
        found = contents(listed(Path(root)))
        found.listing.note_loose()
        form = usual_form(found)
        if not self.accept_leaks:
            refuse_shared_names(found.listing)
        self._set(path=root, fingerprint=found.fingerprint)
        self._set(size=self.size or form.size, mode=self.mode or form.mode)
        counts = np.array([len(c.files) for c in found.listing.classes])
        members = self._members(found.listing)
        most = max(self.shots, self.train_shots or 0)
        room = [n - most for n in counts if n > most or self.too_few == "refuse"]
        if self.queries == 0:
            self._set(queries=int(max(1, min([15, *room]))))
        if self.ways == 0:
            enough = counts >= most + self.queries if self.leaves_out else counts > 0
            sizes = [int(enough[m].sum()) for m in members.values() if len(m)]
            self._set(ways=int(max(2, min([5, *sizes]))))

    def _settle(self) -> None:
        """Decode, refuse what leaks, and fill in the statistics of the training classes."""
        held = self.held()
        for split in SPLITS:
            if len(held.members[split]):
                self.classes(split)
        listing, _ = _opened(self.path, self._form(), self.fingerprint or "")
        refuse_leaks(held, listing, accept=self.accept_leaks)
        mean, deviation = held.pictures.statistics(held.members["train"])
        if self.mode == "ink":
            mean, deviation = [0.0], [1.0]
        self._set(mean=self.mean or tuple(mean), deviation=self.deviation or tuple(deviation))

    def _described(self) -> list[str]:
        """Return what was given, or taken from the data, one line each."""
        members = self.held().members
        sizes = [len(self.classes(split)) if len(members[split]) else 0 for split in SPLITS]
        return [
            f"pictures: {self.size} by {self.size} pixels, {self.mode}, {self.fit}",
            f"tasks: {self.ways} classes, {self.shots} pictures of each to learn from and "
            f"{self.queries} to be judged by (tasks.ways, tasks.shots, tasks.queries)",
            f"classes: {sizes[0]} for training, {sizes[1]} for validation, {sizes[2]} for test",
        ]

    def _form(self) -> Form:
        return Form(self.size or 0, self.mode or "colour", self.fit)

    def _scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        channels = self._form().channels
        return self.mean or (0.0,) * channels, self.deviation or (1.0,) * channels

    @property
    def coding(self) -> PictureCoding:
        """What a picture file becomes for these tasks."""
        return PictureCoding(*self._form(), *self._scale())

    @property
    def leaves_out(self) -> bool:
        """Whether classes with too few pictures are left out rather than refused."""
        return self.too_few == "leave_out"

    def members(self, split: str) -> tuple[str, ...]:
        """Return the names of the classes of a split."""
        every = self.names(split)
        return tuple(every[i] for i in self.held().members[split])

    def held(self) -> Held:
        """Return pictures and splits; see the base class."""
        listing, pictures = _opened(self.path, self._form(), self.fingerprint or "")
        return Held(pictures, self._members(listing))

    def _members(self, listing: Listing) -> Mapping[str, Integers]:
        """Return the classes of each split."""
        named = np.array([c.split for c in listing.classes])
        total = len(named)
        if any(named):
            if self.split or self.train or self.validation or self.test:
                raise UsageError(
                    f"{self.path} has folders for training and test, which say the split: leave "
                    "tasks.split, tasks.train, tasks.validation and tasks.test out"
                )
            found = {split: np.flatnonzero(named == split) for split in SPLITS}
        else:
            division = Division(self.split, self.split_seed, self.train, self.validation, self.test)
            found = _divided(tuple(c.name for c in listing.classes), division)
        for split in ("train", "test"):
            if len(found[split]) < 2:
                raise DataError(
                    f"folder {self.path} has {len(found[split])} classes for {split} of {total} in "
                    "all, at least 2 are needed: add classes (one task alone needs no training: "
                    "use 'metaccord adapt')"
                )
        return found


def from_folders(path: str | Path, **settings: Any) -> Folders:
    """Return tasks over a folder of pictures, one folder for each class.

    Args:
        path: The folder.
        settings: Those of :class:`Folders`, such as ``ways=5, shots=1, size=84``.

    Raises:
        UsageError: for settings that contradict one another.
        DataError: as :class:`Folders` does.

    Example:
        ``tasks = mc.tasks.from_folders("mushrooms", shots=5)``
    """
    return Folders(path=str(path), **settings)


@lru_cache(maxsize=64)
def _divided(names: tuple[str, ...], division: Division) -> dict[str, Integers]:
    """Return the classes of each split; what it warns of is said once."""
    return divide(names, division, "class", 2)


@lru_cache(maxsize=8)
def _opened(path: str, form: Form, fingerprint: str) -> tuple[Listing, Decoded]:
    found = contents(listed(Path(path)))
    if found.fingerprint != fingerprint:
        raise DataError(
            f"folder {path} has changed: its fingerprint is {found.fingerprint[:12]}, expected "
            f"{fingerprint[:12]}; restore it, or train anew in another --out"
        )
    return found.listing, opened(found, form)
