"""Pictures: PNG and JPEG files of any size and mode, made alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaccord.codings.base import Coding, Labelled, Unlabelled
from metaccord.data.archives import read_whole
from metaccord.data.pictures.decode import FILE_BYTES, FITS, MODES, Fit, Form, Mode, decode
from metaccord.data.pictures.folders import FOREIGN, SUFFIXES, first, survey
from metaccord.errors import DataError, UsageError, unknown
from metaccord.types import Batch

_LARGEST = 1024


@dataclass(frozen=True)
class PictureCoding(Coding):
    """Pictures of one size and mode, each channel shifted and scaled.

    A support set is a folder with a folder of pictures for each class; inputs are a picture, or a
    folder of pictures.

    Args:
        size: Height and width, in pixels.
        mode: ``"grey"``, ``"colour"``, or ``"ink"``: dark on light paper becomes 1 on 0.
        fit: ``"stretch"`` the whole picture to a square, or ``"crop"`` its middle.
        mean, deviation: What is subtracted from each channel, and what then divides it; channels
            run from 0 to 255 (ink: from 0 to 1).

    Shape:
        inputs [n, channels, size, size] float32; targets [n] int64.

    Raises:
        UsageError: for an unknown mode or fit, a size out of range, or another number of means
            than channels.
    """

    size: int = 84
    mode: Mode = "colour"
    fit: Fit = "stretch"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (255.0, 255.0, 255.0)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("tasks.mode", self.mode, MODES)
        if self.fit not in FITS:
            raise unknown("tasks.fit", self.fit, FITS)
        if not 1 <= self.size <= _LARGEST:
            raise UsageError(f"tasks.size is {self.size}: it must be between 1 and {_LARGEST}")
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) != self.form.channels:
                raise UsageError(
                    f"tasks.{name} has {len(getattr(self, name))} numbers, mode {self.mode} has "
                    f"{self.form.channels} channels: give one for each, or none for those of the "
                    "training pictures"
                )
        if min(self.deviation) <= 0:
            raise UsageError(f"tasks.deviation is {list(self.deviation)}: it must be above 0")

    @property
    def form(self) -> Form:
        """Size, mode and fit."""
        return Form(self.size, self.mode, self.fit)

    def support(self, path: Path) -> Labelled:
        """Return the task in a folder of class folders; see the base class."""
        path = Path(path)
        found = survey(path)
        problems = list(found.problems)
        if not problems and any(c.split for c in found.classes):
            problems.append(
                f"folder {path} holds training and test folders, not one task: give a folder whose "
                "folders are the classes"
            )
        if not problems and len(found.classes) < 2:
            problems.append(
                f"folder {path} has one class, {found.classes[0].name!r}: a task needs at least 2"
            )
        if problems:
            raise DataError(first(problems, path))
        found.note_loose()
        counts = [len(c.files) for c in found.classes]
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        inputs = self._read([path / name for name in found.files])
        return Labelled(Batch(inputs, labels), tuple(c.name for c in found.classes), found.files)

    def inputs(self, path: Path) -> Unlabelled:
        """Return a picture, or the pictures of a folder in the order of names."""
        path = Path(path)
        if not path.is_dir():
            return Unlabelled(self._read([path]), (path.name,))
        try:
            names = sorted(n for n in os.listdir(path) if n.lower().endswith(SUFFIXES + FOREIGN))
        except OSError as error:
            raise DataError(f"folder {path} cannot be listed ({error.strerror})") from error
        names = [name for name in names if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(FOREIGN):
                raise DataError(f"file {path / name} is neither PNG nor JPEG: convert or remove it")
        if not names:
            raise DataError(f"folder {path} holds no PNG or JPEG picture: give one that does")
        return Unlabelled(self._read([path / name for name in names]), tuple(names))

    def scaled(self, pixels: Tensor) -> Tensor:
        """Return decoded pictures as a model sees them.

        Args:
            pixels: uint8 ``[..., channels, size, size]``.
        """
        mean, deviation = (
            np.array(x, np.float32)[:, None, None] for x in (self.mean, self.deviation)
        )
        found = np.subtract(pixels.numpy(), mean, dtype=np.float32)  # one pass; in torch it is two
        found /= deviation
        return torch.from_numpy(found)

    def _read(self, paths: Sequence[Path]) -> Tensor:
        found = [decode(read_whole(p, FILE_BYTES), self.form, f"file {p}") for p in paths]
        return self.scaled(torch.from_numpy(np.stack(found)))
