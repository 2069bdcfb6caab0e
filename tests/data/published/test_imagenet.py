"""miniImageNet and tieredImageNet from what people hold of ImageNet, in the official layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaccord.data.pictures.decode import Form, decode
from metaccord.data.published import facts as facts_module
from metaccord.data.published import trees
from metaccord.data.published.facts import SETS, PictureSet, class_lists, mini_numbers
from metaccord.data.published.located import Located
from metaccord.data.published.search import locate
from metaccord.errors import DataError
from metaccord.tasks import MiniImageNet, TieredImageNet
from tests.data.published.layouts import imagenet_class, picture, sealed, tar, unpack
from tests.folder import FOLDER

TRAIN, VALIDATION, TEST = (
    ("n01532829", "n01558993"),
    ("n01855672", "n02091244"),
    ("n01930112", "n01981276"),
)
CLASSES = (*TRAIN, *VALIDATION, *TEST)
NUMBERS = (2, 3, 5, 9)  # of the pictures of each class, in a small miniImageNet
HELD = 11  # pictures of each class in a small ImageNet


def test_the_facts_are_the_published_ones() -> None:
    lists = class_lists("mini_imagenet")
    assert [len(part) for part in lists.values()] == [64, 16, 20]
    for wnid in (w for part in lists.values() for w in part):
        numbers = mini_numbers(wnid)
        assert len(numbers) == 600
        assert 1 <= numbers[0] < numbers[-1] <= 1300
    assert mini_numbers("n01532829")[:4] == (5, 6, 7, 10)
    tiered = class_lists("tiered_imagenet")
    assert [len(part) for part in tiered.values()] == [351, 97, 160]
    assert len(set().union(*tiered.values())) == 608


@pytest.mark.skipif(
    FOLDER is None or not (FOLDER / "splits" / "miniimagenet.npz").is_file(),
    reason="needs METACCORD_DATA: a folder with splits/miniimagenet.npz",
)
def test_the_facts_are_those_of_the_lists() -> None:
    with np.load(FOLDER / "splits" / "miniimagenet.npz", allow_pickle=False) as arrays:
        for code, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            assert class_lists("mini_imagenet")[split] == tuple(arrays[f"{code}_wnid"].tolist())
            for wnid, numbers in zip(
                arrays[f"{code}_wnid"], arrays[f"{code}_image_number"], strict=True
            ):
                assert mini_numbers(str(wnid)) == tuple(numbers.tolist())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, replaced: Callable[..., None]) -> None:
    """Six classes; miniImageNet takes four of eleven pictures of each, tieredImageNet all."""
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    bits = format(sum(1 << n for n in NUMBERS), "x")
    known: dict[str, Mapping[str, Any]] = {
        "mini_imagenet": {s: dict.fromkeys(names, bits) for s, names in parts.items()},
        "tiered_imagenet": {s: list(names) for s, names in parts.items()},
    }
    monkeypatch.setattr(facts_module, "facts", lambda name: json.loads(json.dumps(known[name])))
    replaced(SETS["mini_imagenet"]._replace(each=4, total=24))
    replaced(SETS["tiered_imagenet"]._replace(total=66))


def per_class() -> dict[str, dict[str, bytes]]:
    return {wnid: imagenet_class(wnid, HELD) for wnid in (*CLASSES, "n00000001")}


def class_folders(root: Path, replaced: Callable[[PictureSet], None]) -> None:
    for wnid, files in per_class().items():
        unpack(root / "imagenet" / "train" / wnid, files)


def challenge_folders(root: Path, replaced: Callable[[PictureSet], None]) -> None:
    for wnid, files in per_class().items():
        unpack(root / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC" / "train" / wnid, files)
    unpack(root / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC" / "test", {"x.JPEG": picture("x")})


def class_archives(root: Path, replaced: Callable[[PictureSet], None]) -> None:
    for wnid, files in per_class().items():
        tar(root / "imagenet" / f"{wnid}.tar", files)


def whole_archive(root: Path, replaced: Callable[[PictureSet], None]) -> None:
    inner = {}
    for wnid, files in sorted(per_class().items()):
        inner[f"{wnid}.tar"] = tar(root / "x.tar", files).read_bytes()
    (root / "x.tar").unlink()
    path = tar(root / "imagenet" / "ILSVRC2012_img_train.tar", inner)
    for name in ("mini_imagenet", "tiered_imagenet"):
        replaced(sealed(SETS[name], path, SETS[name].total, SETS[name].each))


ROADS = (class_folders, challenge_folders, class_archives, whole_archive)


def found_pictures(found: Located) -> np.ndarray:
    pictures = found.opened(Form(8, "colour"))
    return pictures.rows(np.arange(len(pictures)))


def expected(numbers: range | tuple[int, ...]) -> np.ndarray:
    """By the rule of the published lists: number n is the n-th of the class by file number."""
    names = [f"{wnid}_{7 * n}.JPEG" for wnid in CLASSES for n in numbers]
    return np.stack([decode(picture(name, 4), Form(8, "colour"), name) for name in names])


@pytest.mark.parametrize("road", ROADS)
def test_miniimagenet_from_imagenet(
    road: Callable[..., None], small: None, tmp_path: Path, replaced: Callable[..., None]
) -> None:
    road(tmp_path, replaced)
    assert np.array_equal(found_pictures(locate("mini_imagenet", tmp_path)), expected(NUMBERS))


@pytest.mark.parametrize("road", ROADS)
def test_tieredimagenet_from_imagenet(
    road: Callable[..., None], small: None, tmp_path: Path, replaced: Callable[..., None]
) -> None:
    road(tmp_path, replaced)
    found = found_pictures(locate("tiered_imagenet", tmp_path))
    assert len(found) == 66
    rows = {x.tobytes() for x in found}
    assert rows == {x.tobytes() for x in expected(range(1, HELD + 1))}


def test_prepared_trees_and_the_flat_folder(small: None, tmp_path: Path) -> None:
    """Both hold the same files, named as in the published lists."""
    names = {w: [f"{w}{n:08d}.jpg" for n in NUMBERS] for w in CLASSES}
    splits = {"train": TRAIN, "val": VALIDATION, "test": TEST}
    tree = {
        f"{split}/{wnid}/{name}": picture(name)
        for split, wnids in splits.items() for wnid in wnids for name in names[wnid]
    }  # fmt: skip
    flat = {f"images/{name}": picture(name) for wnid in CLASSES for name in names[wnid]}
    unpack(tmp_path / "a" / "mini-imagenet", tree)
    unpack(tmp_path / "b" / "mini_imagenet", flat)
    one, other = (found_pictures(locate("mini_imagenet", tmp_path / p)) for p in "ab")
    assert np.array_equal(one, other)
    tasks = MiniImageNet(root=str(tmp_path / "a"), ways=2, queries=2)
    assert tasks.size == 84
    assert tasks.names("test")[:2] == TRAIN
    assert [tasks.names("test")[c] for c in tasks.classes("test")] == list(TEST)
    (tmp_path / "b" / "mini_imagenet" / "images" / f"{TEST[0]}00000005.jpg").unlink()
    with pytest.raises(DataError, match=f"lacks 1 pictures of class '{TEST[0]}'"):
        locate("mini_imagenet", tmp_path / "b")
    shutil.rmtree(tmp_path / "a" / "mini-imagenet" / "test" / TEST[1])
    with pytest.raises(DataError, match=f"lacks the class folder '{TEST[1]}'"):
        locate("mini_imagenet", tmp_path / "a")


def test_tiered_tasks(small: None, tmp_path: Path, replaced: Callable[..., None]) -> None:
    class_folders(tmp_path, replaced)
    tasks = TieredImageNet(root=str(tmp_path), ways=2, queries=3)
    assert tasks.episodes("validation", 0, range(1)).query.inputs.shape == (1, 6, 3, 84, 84)


def lost_class(root: Path) -> None:
    shutil.rmtree(root / "imagenet" / "train" / TRAIN[1])


def too_few(root: Path) -> None:
    for path in sorted((root / "imagenet" / "train" / TEST[0]).iterdir())[:4]:
        path.unlink()


def no_number(root: Path) -> None:
    folder = root / "imagenet" / "train" / TEST[1]
    next(iter(folder.iterdir())).rename(folder / "first.JPEG")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lost_class, "lacks the class folder"), (too_few, "asks for number 9"),
        (no_number, "without a number"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    spoil: Callable[[Path], None],
    words: str,
    small: None,
    tmp_path: Path,
    replaced: Callable[..., None],
) -> None:
    class_folders(tmp_path, replaced)
    spoil(tmp_path)
    with pytest.raises(DataError, match=words):
        locate("mini_imagenet", tmp_path)


def test_an_archive_of_another_length_is_refused(
    small: None, tmp_path: Path, replaced: Callable[..., None]
) -> None:
    whole_archive(tmp_path, replaced)
    path = tmp_path / "imagenet" / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(DataError, match="bytes, expected"):
        locate("mini_imagenet", tmp_path)


def test_it_is_nowhere(tmp_path: Path) -> None:
    for name in SETS:
        with pytest.raises(DataError, match=r"was not found in .*: put into such a folder"):
            locate(name, tmp_path)
    assert trees.find(SETS["mini_imagenet"], tmp_path) is None
