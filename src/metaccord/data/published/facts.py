"""What is known about each set: its classes and splits, counts, and files with their hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from metaccord.data.catalogue import RemoteFile

SPLITS = ("train", "validation", "test")
_IMAGENET_LICENCE = "pictures of many holders, for research, on ImageNet's terms of access"


class PictureSet(NamedTuple):
    """A set of pictures with a published split.

    Attributes:
        name: What the command line calls it.
        description: One line.
        licence: Licence or terms.
        citation: Authors, title, venue, year.
        put: What to put into the data folder, for people.
        folders: Where it is looked for in the data folder.
        splits: Facts file and key of the split in it.
        size: The usual height and width.
        archive: The archive with all pictures, if there is one.
        each: Pictures of each class; None: they differ.
        total: Pictures in all.
    """

    name: str
    description: str
    licence: str
    citation: str
    put: str
    folders: tuple[str, ...]
    splits: str
    size: int
    archive: RemoteFile | None
    each: int | None
    total: int | None

    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Return the classes of each split."""
        return class_lists(self.splits)


CIFAR100_BINARY = RemoteFile(
    "cifar-100-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    168513733,
)
CUB_ARCHIVE = RemoteFile(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
    1150585339,
)
IMAGENET_TRAIN = RemoteFile(
    "ILSVRC2012_img_train.tar",
    "https://image-net.org/challenges/LSVRC/2012/",
    "1d675b47d978889d74fa0da5fadfb00e",
    147897477120,
)
_CIFAR_FOLDERS = ("cifar_fs", "fc100", "cifar100", "cifar-100-binary", "")
_IMAGENET_FOLDERS = ("imagenet", "ILSVRC2012", "ILSVRC2012/train", "imagenet/train",
                     "imagenet/ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train")  # fmt: skip
_CIFAR_PUT = (
    "cifar100/cifar-100-binary.tar.gz (or its unpacked folder), or a tree of class folders in "
    "train, validation and test"
)
_KRIZHEVSKY = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; "

SETS: dict[str, PictureSet] = {
    entry.name: entry
    for entry in (
        PictureSet(
            "cifar_fs",
            "CIFAR-FS: CIFAR-100 in 64 / 16 / 20 classes, 600 colour pictures of 32x32 each",
            "no licence stated; cite the technical report",
            f"{_KRIZHEVSKY}L. Bertinetto et al., Meta-learning with differentiable closed-form "
            "solvers, ICLR 2019",
            _CIFAR_PUT, _CIFAR_FOLDERS, "cifar100:2", 32, CIFAR100_BINARY, 600, 60_000,
        ),
        PictureSet(
            "fc100",
            "FC100: CIFAR-100 in 60 / 20 / 20 classes that share no superclass",
            "no licence stated; cite the technical report",
            f"{_KRIZHEVSKY}B. Oreshkin et al., TADAM, NeurIPS 2018",
            _CIFAR_PUT, ("fc100", *_CIFAR_FOLDERS), "cifar100:3", 32, CIFAR100_BINARY, 600, 60_000,
        ),
        PictureSet(
            "mini_imagenet",
            "miniImageNet: 64 / 16 / 20 classes of ImageNet, 600 colour pictures each, 84x84",
            _IMAGENET_LICENCE,
            "O. Vinyals et al., Matching networks for one shot learning, NeurIPS 2016; split of "
            "S. Ravi and H. Larochelle, ICLR 2017",
            "mini_imagenet/ with train, val and test, each with folders named by WordNet ids, or "
            "with images/n0153282900000005.jpg and so on; or imagenet/ with "
            "ILSVRC2012_img_train.tar, with n01440764.tar and so on, or with folders of that name",
            ("mini_imagenet", "mini-imagenet", "miniimagenet", "miniImageNet", *_IMAGENET_FOLDERS),
            "mini_imagenet", 84, IMAGENET_TRAIN, 600, 60_000,
        ),
        PictureSet(
            "tiered_imagenet",
            "tieredImageNet: 351 / 97 / 160 classes of ImageNet, 779165 colour pictures, 84x84",
            _IMAGENET_LICENCE,
            "M. Ren et al., Meta-learning for semi-supervised few-shot classification, ICLR 2018",
            "tiered_imagenet/ with train, val and test, each with folders named by WordNet ids; or "
            "imagenet/ as for mini_imagenet",
            ("tiered_imagenet", "tiered-imagenet", "tieredimagenet", "tieredImageNet",
             *_IMAGENET_FOLDERS),
            "tiered_imagenet", 84, IMAGENET_TRAIN, None, 779_165,
        ),
        PictureSet(
            "cub",
            "CUB-200-2011: 200 kinds of birds, 11788 colour pictures; two splits",
            "pictures of many holders, for research and education",
            "C. Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001; splits of "
            "W.-Y. Chen et al., ICLR 2019 (100, 50, 50), and of 140, 30, 30 classes",
            "cub/CUB_200_2011.tgz, or its unpacked folder CUB_200_2011",
            ("cub", "cub/CUB_200_2011", "CUB_200_2011", "cub/images", ""),
            "cub:1", 84, CUB_ARCHIVE, None, 11_788,
        ),
    )
}  # fmt: skip
"""By name; tests put smaller facts in their place."""


@cache
def facts(name: str) -> Any:
    """Return a facts file of the package."""
    text = resources.files("metaccord.data").joinpath(f"facts/{name}.json").read_text()
    return json.loads(text)


def class_lists(which: str) -> Mapping[str, tuple[str, ...]]:
    """Return the classes of each split.

    Args:
        which: Name of a facts file; with ``:k`` for the split in column k of its classes.
    """
    name, _, column = which.partition(":")
    found = facts(name)
    if not column:
        return {split: tuple(found[split]) for split in SPLITS}
    return {
        split: tuple(row[0] for row in found["classes"] if row[int(column)] == code)
        for code, split in enumerate(SPLITS)
    }


def mini_numbers(wnid: str) -> tuple[int, ...]:
    """Return which pictures of an ImageNet class belong to miniImageNet, from 1, ascending."""
    found = facts("mini_imagenet")
    bits = int(next(found[split][wnid] for split in SPLITS if wnid in found[split]), 16)
    return tuple(n for n in range(bits.bit_length()) if bits >> n & 1)
