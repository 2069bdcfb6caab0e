"""CIFAR-FS and FC100 from the binary version of CIFAR-100, in the official layout."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaccord.data.published.facts import SETS, facts
from metaccord.data.published.search import locate
from metaccord.defaults import default
from metaccord.errors import DataError
from metaccord.tasks import CIFARFS, FC100, published
from tests.data.published.layouts import cifar_archive, cifar_parts, sealed, tar, unpack

NAME = "cifar-100-binary.tar.gz"
SIZES = {"cifar_fs": (64, 16, 20), "fc100": (60, 20, 20)}


@pytest.fixture
def archive(tmp_path: Path, replaced: Callable[..., None]) -> Path:
    path = cifar_archive(tmp_path / "data" / "cifar100" / NAME)
    for name in SIZES:
        replaced(sealed(SETS[name], path, 600, 6))
    return path


def test_the_facts_are_the_published_ones() -> None:
    """Sizes of the splits; FC100 shares no superclass, CIFAR-FS no class."""
    coarse = {row[0]: row[1] for row in facts("cifar100")["classes"]}
    for name, sizes in SIZES.items():
        members = SETS[name].members()
        assert tuple(len(members[s]) for s in ("train", "validation", "test")) == sizes
        assert len(set().union(*members.values())) == 100
    owners = [{coarse[c] for c in part} for part in SETS["fc100"].members().values()]
    assert [len(part) for part in owners] == [12, 4, 4]
    assert len(set().union(*owners)) == 20
    assert SETS["cifar_fs"].archive.md5 == "03b5dce01913d631647c71ecec9e9cb8"
    assert SETS["cifar_fs"].archive.size == 168_513_733


@pytest.mark.parametrize("cls", [CIFARFS, FC100])
@pytest.mark.parametrize("road", ["archive", "unpacked", "file itself"])
def test_each_picture_is_with_its_class(cls: type, road: str, archive: Path) -> None:
    root = archive.parent.parent
    if road == "unpacked":
        with tarfile.open(archive) as found:
            found.extractall(root, filter="data")
        archive.unlink()
    tasks = cls(root=str(archive if road == "file itself" else root), queries=2)
    held = tasks.held()
    assert len(held.pictures) == 600
    names = tasks.names("train")
    order = [row[0] for row in facts("cifar100")["classes"]]
    rows = held.pictures.rows(np.arange(600))
    shown = rows[:, 0, 0, 0].reshape(100, 6)  # the first red pixel
    assert [order[k] for k in shown[:, 0]] == list(names)
    assert (shown == shown[:, :1]).all()
    train, test = (np.frombuffer(p, np.uint8).reshape(-1, 3074) for p in cifar_parts())
    first = train[train[:, 1] == order.index(names[7])][:, 2:].reshape(-1, 3, 32, 32)
    assert np.array_equal(rows[42:47], first)
    last = test[test[:, 1] == order.index(names[7])][:, 2:].reshape(-1, 3, 32, 32)
    assert np.array_equal(rows[47:48], last)


def test_episodes_and_another_size(archive: Path) -> None:
    tasks = CIFARFS(root=str(archive), shots=2, queries=3, size=16)
    episode = tasks.episodes("test", 0, range(2))
    assert episode.query.inputs.shape == (2, 15, 3, 16, 16)
    allowed = set(SETS["cifar_fs"].members()["test"])
    names = tasks.names("test")
    assert {names[c] for c in episode.extra["classes"].flatten().tolist()} <= allowed
    assert abs(float(tasks.episodes("train", 0, range(8)).query.inputs.mean())) < 0.1
    experiment = default("cifar_fs", settings=[f"tasks.root={archive}", "tasks.queries=3"])
    assert experiment.tasks == CIFARFS(root=str(archive), queries=3)
    assert experiment.model["size"] == 32


def test_class_folders_do_as_well(tmp_path: Path, replaced: Callable[..., None]) -> None:
    """The tree that the authors of CIFAR-FS gave out, pictures of 32x32 in class folders."""
    from tests.data.published.layouts import picture

    members = SETS["cifar_fs"].members()
    folders = {"train": "meta-train", "validation": "meta-val", "test": "meta-test"}
    files = {
        f"{folders[split]}/{name}/{i}.png": picture(f"{name}{i}", 8, "PNG")
        for split in members for name in members[split] for i in range(3)
    }  # fmt: skip
    replaced(SETS["cifar_fs"]._replace(each=3, total=300))
    root = unpack(tmp_path / "cifar_fs", files)
    tasks = CIFARFS(root=str(tmp_path), queries=2)
    assert len(tasks.classes("test")) == 20
    (root / "meta-train" / "apple").rename(root / "meta-train" / "appel")
    published._opened.cache_clear()
    with pytest.raises(DataError, match=r"'appel' in .* is not of the train split"):
        CIFARFS(root=str(tmp_path), queries=2)


def test_the_python_version_is_refused(tmp_path: Path) -> None:
    tar(
        tmp_path / "cifar100" / "cifar-100-python.tar.gz",
        {"cifar-100-python/train": b"\x80"},
        "w:gz",
    )
    with pytest.raises(DataError, match=r"holds pickles.*cifar-100-binary\.tar\.gz"):
        locate("cifar_fs", tmp_path)
    with pytest.raises(DataError, match="holds pickles"):
        locate("fc100", tmp_path / "cifar100" / "cifar-100-python.tar.gz")


def swapped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (swapped, "found another MD5|found [0-9a-f]{32}"),
        (cut, "bytes, expected"),
        (Path.unlink, "put into"),
    ],
)
def test_a_damaged_archive_is_refused(
    damage: Callable[[Path], None], words: str, archive: Path
) -> None:
    locate("fc100", archive.parent)
    damage(archive)
    with pytest.raises(DataError, match=words):
        locate("fc100", archive.parent)


def bad_label(parts: list[bytearray]) -> None:
    parts[0][1] = 100


def other_coarse(parts: list[bytearray]) -> None:
    parts[1][0] = (parts[1][0] + 1) % 20


def short(parts: list[bytearray]) -> None:
    del parts[0][-10:]


def lacking(parts: list[bytearray]) -> None:
    del parts[0][:3074]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (bad_label, "labels that are not those"), (other_coarse, "labels that are not those"),
        (short, "no whole number of records"), (lacking, "has 5 pictures, expected 6"),
    ],
)  # fmt: skip
def test_bad_records_are_refused(
    spoil: Callable[[list[bytearray]], None], words: str, tmp_path: Path, archive: Path
) -> None:
    parts = [bytearray(part) for part in cifar_parts()]
    spoil(parts)
    names = ("train.bin", "test.bin")
    files = dict(zip(names, map(bytes, parts), strict=True))
    unpack(tmp_path / "x" / "cifar-100-binary", files)
    with pytest.raises(DataError, match=words):
        locate("cifar_fs", tmp_path / "x")
