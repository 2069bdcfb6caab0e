"""The cache of decoded pictures: the same bits as decoding, found when damaged, built once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from metaccord.data.pictures import decoded, reading
from metaccord.data.pictures.decode import Form, decode
from metaccord.data.pictures.decoded import Decoded
from metaccord.data.pictures.folders import listed
from metaccord.errors import DataError, ResourceError
from tests.drawn import folder

FORM = Form(12, "colour")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder(tmp_path / "pictures", {"a": 3, "b": 5, "c": 2})


def load(root: Path, form: Form = FORM) -> Decoded:
    return reading.opened(reading.contents(listed(root)), form)


def place(cache: Path) -> Path:
    (found,) = [p for p in (cache / "pictures").iterdir() if len(p.name) == 32]
    return found


def plain(root: Path) -> np.ndarray:
    files = listed(root).files
    return np.stack([decode((root / name).read_bytes(), FORM, name) for name in files])


def test_it_holds_what_decoding_gives(root: Path) -> None:
    found = load(root)
    assert np.array_equal(found.rows(np.arange(10)), plain(root))
    assert found.starts.tolist() == [0, 3, 8, 10]
    assert found.rows(np.array([[9, 0], [4, 4]])).shape == (2, 2, 3, 12, 12)


def test_statistics_are_those_of_the_classes_named(root: Path) -> None:
    mean, deviation = load(root).statistics(np.array([0, 2]))
    chosen = np.concatenate([plain(root)[:3], plain(root)[8:]]).transpose(1, 0, 2, 3).reshape(3, -1)
    assert np.allclose(mean, chosen.mean(1), atol=1e-4)
    assert np.allclose(deviation, chosen.std(1), atol=1e-4)


def test_it_is_built_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root)
    monkeypatch.setattr(decoded, "_build", lambda *args: pytest.fail("built twice"))
    load(root)


def test_a_change_is_noticed(root: Path, cache: Path) -> None:
    """Content, a further file, another class name, another form: each is another place."""
    seen = {reading.contents(listed(root)).fingerprint}
    load(root)
    first = root / "a" / "0000.png"
    first.write_bytes((root / "b" / "0000.png").read_bytes())
    seen.add(reading.contents(listed(root)).fingerprint)
    (root / "c" / "new.png").write_bytes(first.read_bytes())
    seen.add(reading.contents(listed(root)).fingerprint)
    (root / "a").rename(root / "z")
    seen.add(reading.contents(listed(root)).fingerprint)
    assert len(seen) == 4
    assert load(root).rows(np.array([10])).shape == (1, 3, 12, 12)
    load(root, Form(12, "grey"))
    assert len([p for p in (cache / "pictures").iterdir() if len(p.name) == 32]) == 3


def test_a_change_with_the_old_time_and_length_is_noticed(tmp_path: Path) -> None:
    """As many files as are remembered; the time of the inode's change cannot be set back."""
    root = folder(tmp_path / "many", 8, 10)
    before = reading.contents(listed(root)).fingerprint
    assert reading.contents(listed(root)).fingerprint == before
    path = root / "class00" / "0000.png"
    content, stamp = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    assert reading.contents(listed(root)).fingerprint != before


@pytest.mark.parametrize("damage", ["flip", "cut", "marks", "manifest", "gone"])
def test_damage_is_found_and_mended(
    damage: str, root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(root)
    where = place(cache)
    path = where / {"marks": "marks.npy", "manifest": "manifest.json"}.get(damage, "pictures.npy")
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "metaccord"):
        found = load(root)
        assert np.array_equal(found.rows(np.arange(10)), plain(root))
    assert "damaged" in caplog.text
    assert np.array_equal(load(root).rows(np.arange(10)), plain(root))


def test_each_flip_in_the_pictures_is_found(root: Path, cache: Path) -> None:
    load(root)
    path = place(cache) / "pictures.npy"
    rng = np.random.default_rng(0)
    for _ in range(12):
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert np.array_equal(load(root).rows(np.arange(10)), plain(root))


def test_damage_to_files_that_changed_since_is_an_error(root: Path, cache: Path) -> None:
    found = load(root)
    path = place(cache) / "pictures.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as handle:
        handle.write(content)
    (root / "c" / "0000.png").write_bytes((root / "a" / "0000.png").read_bytes())
    with pytest.raises(DataError, match=r"c/0000.png changed"):
        found.rows(np.arange(10))


def test_broken_pictures_leave_nothing_behind(root: Path, cache: Path) -> None:
    path = root / "b" / "0003.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"b/0003.png is no intact"):
        load(root)
    assert not [p for p in (cache / "pictures").iterdir() if p.is_dir() and p.name != "tables"]


def test_a_full_disk_is_said_before_decoding(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaccord.fs.free", lambda folder: 1000)
    with pytest.raises(ResourceError, match=r"needs 1 MiB.*METACCORD_CACHE"):
        load(root)
    assert not list(cache.glob("pictures/.*.part"))


def slow_load(root: Path, pause: float) -> None:
    """Load with a pause before each picture; the exit code says whether it is right."""
    real = decoded.fingerprint
    decoded.fingerprint = lambda pixels: (time.sleep(pause), real(pixels))[1]
    right = np.array_equal(load(root).rows(np.arange(10)), plain(root))
    os._exit(0 if right else 1)


@pytest.mark.parametrize("after", [0.0, 0.1, 0.25])
def test_a_killed_builder_leaves_work_but_no_harm(root: Path, after: float, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=slow_load, args=(root, 0.05))
    child.start()
    while not list(cache.glob("pictures/.*.part")):
        time.sleep(0.005)
    time.sleep(after)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert list(cache.glob("pictures/.*.part")), "it was killed too late"
    assert np.array_equal(load(root).rows(np.arange(10)), plain(root))
    assert not list(cache.glob("pictures/.*.part"))


def test_four_processes_build_one_cache(root: Path, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=slow_load, args=(root, 0.01)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    place(cache)
