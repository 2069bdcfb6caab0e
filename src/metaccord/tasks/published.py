"""Picture sets with published splits: CIFAR-FS, FC100, miniImageNet, tieredImageNet, CUB."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from metaccord.codings.pictures import PictureCoding
from metaccord.data.pictures.decode import Form
from metaccord.data.pictures.decoded import Decoded
from metaccord.data.published.facts import SETS
from metaccord.data.published.search import locate
from metaccord.errors import DataError, unknown
from metaccord.tasks.picture_tasks import Held, PictureTasks
from metaccord.tasks.source import SPLITS

CubSplit = Literal["100-50-50", "140-30-30"]
_COLUMNS = {"100-50-50": "cub:1", "140-30-30": "cub:2"}


@dataclass(frozen=True, kw_only=True)
class PublishedPictures(PictureTasks):
    """Tell ``ways`` classes of a published set apart after ``shots`` pictures of each.

    The split is the published one. It is taken as it is: pictures that its makers left in two
    splits, or nearly so, are not looked for.

    Args:
        ways: Classes of one task.
        shots, queries, train_shots: Pictures per class; see :class:`metaccord.tasks.TaskSource`.
        root: File or folder with the data; None: METACCORD_DATA, then the user's cache.
            ``metaccord data list`` says what to put there.
        size: Height and width; 0: the usual one, 32 for CIFAR-100, else 84. Whole pictures are
            stretched to a square by Lanczos' filter.
        mean, deviation: Of each channel; None: over all pictures of the training classes.
        fingerprint: Hash of the data; None: as they are now.
        seed: Names the stream of episodes.

    Shape:
        inputs [T, ways * n, 3, size, size] float32; targets [T, ways * n] int64, class by class;
        ``extra["classes"]`` [T, ways] int64, places in :meth:`names`.

    Raises:
        UsageError: for settings out of range.
        DataError: if the data are missing, not complete, damaged, or not those of the fingerprint.
    """

    set_name: ClassVar[str]  # in the catalogue
    root: str | None = None
    size: int = 0
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size == 0:
            self._set(size=SETS[self.set_name].size)
        _ = self.coding
        if self.fingerprint is not None:
            return
        opened, source = _opened(self.set_name, self.root, self.size, self.splits)
        train = np.arange(len(self._lists()["train"]))
        mean, deviation = opened.statistics(train)
        self._set(fingerprint=source, mean=self.mean or tuple(mean))
        self._set(deviation=self.deviation or tuple(deviation))
        for split in SPLITS:
            self.classes(split)

    @property
    def splits(self) -> str:
        """Facts file and column of the split."""
        return SETS[self.set_name].splits

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _lists(self) -> Any:
        return SETS[self.set_name]._replace(splits=self.splits).members()

    @property
    def coding(self) -> PictureCoding:
        """What a picture file becomes for these tasks."""
        unknown_yet = (0.0,) * 3, (1.0,) * 3
        mean, deviation = self.mean or unknown_yet[0], self.deviation or unknown_yet[1]
        return PictureCoding(self.size, "colour", "stretch", mean, deviation)

    def held(self) -> Held:
        """Return pictures and splits; see the base class."""
        pictures, source = _opened(self.set_name, self.root, self.size, self.splits)
        if source != self.fingerprint:
            raise DataError(
                f"{pictures.recipe.what} has fingerprint {source[:12]}, the run was made with "
                f"{(self.fingerprint or '')[:12]}: use the data it was made with"
            )
        ends = np.cumsum([len(self._lists()[split]) for split in SPLITS])
        parts = np.split(np.arange(ends[-1]), ends[:-1])
        return Held(pictures, dict(zip(SPLITS, parts, strict=True)))


@dataclass(frozen=True, kw_only=True)
class CIFARFS(PublishedPictures):
    """CIFAR-FS: the classes of CIFAR-100 in 64 / 16 / 20; see :class:`PublishedPictures`.

    Reference:
        Bertinetto, Henriques, Torr, Vedaldi, ICLR 2019.
    """

    set_name: ClassVar[str] = "cifar_fs"


@dataclass(frozen=True, kw_only=True)
class FC100(PublishedPictures):
    """FC100: the superclasses of CIFAR-100 in 12 / 4 / 4; see :class:`PublishedPictures`.

    Reference:
        Oreshkin, Rodriguez, Lacoste, TADAM, NeurIPS 2018.
    """

    set_name: ClassVar[str] = "fc100"


@dataclass(frozen=True, kw_only=True)
class MiniImageNet(PublishedPictures):
    """miniImageNet: 64 / 16 / 20 classes of ImageNet; see :class:`PublishedPictures`.

    Reference:
        Vinyals et al., NeurIPS 2016; split of Ravi, Larochelle, ICLR 2017.

    Differs:
        Pictures are made 84x84 by Lanczos' filter; others use bilinear or area means.
    """

    set_name: ClassVar[str] = "mini_imagenet"


@dataclass(frozen=True, kw_only=True)
class TieredImageNet(PublishedPictures):
    """tieredImageNet: 351 / 97 / 160 classes of ImageNet; see :class:`PublishedPictures`.

    Reference:
        Ren et al., ICLR 2018.
    """

    set_name: ClassVar[str] = "tiered_imagenet"


@dataclass(frozen=True, kw_only=True)
class CUB(PublishedPictures):
    """CUB-200-2011, kinds of birds, in one of two splits; see :class:`PublishedPictures`.

    Args:
        split: ``"100-50-50"``, classes for training, validation and test (Chen et al.), or
            ``"140-30-30"``. Results with the two can't be compared.

    Reference:
        Wah et al., CNS-TR-2011-001; Chen et al., ICLR 2019.

    Differs:
        Whole pictures are used; some authors cut out the bird by its bounding box.
    """

    set_name: ClassVar[str] = "cub"
    split: CubSplit = "100-50-50"

    def __post_init__(self) -> None:
        if self.split not in _COLUMNS:
            raise unknown("tasks.split", self.split, _COLUMNS)
        super().__post_init__()

    @property
    def splits(self) -> str:
        """Facts file and column of the split."""
        return _COLUMNS[self.split]


PUBLISHED: dict[str, type[PublishedPictures]] = {
    "cifar_fs": CIFARFS,
    "fc100": FC100,
    "mini_imagenet": MiniImageNet,
    "tiered_imagenet": TieredImageNet,
    "cub": CUB,
}
"""By the name that the command line takes."""


@lru_cache(maxsize=4)
def _opened(name: str, root: str | None, size: int, splits: str) -> tuple[Decoded, str]:
    """Return the pictures of a set, and the hash of data and split."""
    found = locate(name, root, splits)
    source = hashlib.sha256(f"{found.source} {splits}".encode()).hexdigest()
    return found.opened(Form(size, "colour")), source
