"""CUB from its archive and its folder, in the official layout, with both splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaccord.data.pictures.decode import decode
from metaccord.data.published.facts import SETS, class_lists
from metaccord.data.published.search import locate
from metaccord.errors import DataError, UsageError
from metaccord.tasks import CUB, published
from tests.data.published.layouts import cub_files, sealed, tar, unpack


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return cub_files()


@pytest.fixture
def archive(files: dict[str, bytes], tmp_path: Path, replaced: Callable[..., None]) -> Path:
    path = tar(tmp_path / "data" / "cub" / "CUB_200_2011.tgz", files, "w:gz")
    replaced(sealed(SETS["cub"], path, 400, None))
    return path


def test_the_facts_are_the_published_ones() -> None:
    for column, sizes in (("cub:1", [100, 50, 50]), ("cub:2", [140, 30, 30])):
        lists = class_lists(column)
        assert [len(part) for part in lists.values()] == sizes
        assert len(set().union(*lists.values())) == 200
    assert class_lists("cub:1")["test"][0] == "004.Groove_billed_Ani"
    assert SETS["cub"].archive.size == 1_150_585_339


@pytest.mark.parametrize("road", ["archive", "folder"])
@pytest.mark.parametrize("split", ["100-50-50", "140-30-30"])
def test_each_picture_is_with_its_class(
    road: str, split: str, archive: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    root = archive.parent.parent
    if road == "folder":
        root = tmp_path / "unpacked"
        unpack(root, files)
    tasks = CUB(root=str(root), split=split, queries=1, size=8)
    names, pictures = tasks.names("test"), tasks.held().pictures
    for number in (0, 57, 199):
        inside = sorted(n for n in files if f"/{names[number]}/" in n)
        expected = np.stack([decode(files[n], tasks.coding.form, n) for n in inside])
        rows = np.arange(*pictures.starts[number : number + 2])
        assert np.array_equal(pictures.rows(rows), expected)
    tests = {names[c] for c in tasks.classes("test")}
    assert tests == set(
        class_lists({"1": "cub:1", "2": "cub:2"}["1" if "100" in split else "2"])["test"]
    )


def test_the_splits_have_other_fingerprints(archive: Path) -> None:
    one, other = (CUB(root=str(archive), split=s, queries=1, size=8) for s in published._COLUMNS)
    assert one.fingerprint != other.fingerprint
    with pytest.raises(UsageError, match=r"unknown tasks\.split"):
        CUB(root=str(archive), split="50-50-100")


@pytest.mark.parametrize("lost", ["CUB_200_2011/images.txt", "CUB_200_2011/classes.txt", None])
def test_lists_and_pictures_must_agree(
    lost: str | None, files: dict[str, bytes], tmp_path: Path, replaced: Callable[..., None]
) -> None:
    lost = lost or next(n for n in files if n.endswith(".jpg"))
    kept = {name: content for name, content in files.items() if name != lost}
    path = tar(tmp_path / "CUB_200_2011.tgz", kept, "w:gz")
    replaced(sealed(SETS["cub"], path, 400, None))
    with pytest.raises(DataError, match=r"its images\.txt names"):
        locate("cub", tmp_path)


def test_an_incomplete_folder_is_refused(
    files: dict[str, bytes], tmp_path: Path, archive: Path
) -> None:
    kept = {n: c for n, c in files.items() if "/002.Laysan_Albatross/" not in n}
    unpack(tmp_path / "x", kept)
    with pytest.raises(DataError, match=r"lacks the class folder '002\.Laysan_Albatross'"):
        locate("cub", tmp_path / "x")
