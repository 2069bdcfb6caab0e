"""The colour pictures are the ones whose hash is known; other files are named."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from metaccord.data import sign_digits
from metaccord.errors import DataError


@pytest.fixture(scope="module")
def good(data_root: Path) -> Path:
    """The real file."""
    path = data_root / "sign_digits" / "sign_digits32.npz"
    if not path.is_file():
        pytest.skip("needs sign_digits/sign_digits32.npz in METACCORD_DATA")
    return path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name].copy() for name in ("images", "labels")}


def test_the_pictures_are_those_of_the_file_channel_first(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(good.parents[1]))
    data, stored = sign_digits.load(), arrays(good)
    assert data.pictures.shape == (2062, 3, 32, 32)
    assert data.pictures.dtype == np.uint8
    assert data.pictures.flags.c_contiguous
    assert data.labels.dtype == np.int64
    assert np.array_equal(data.labels, stored["labels"])
    assert tuple(np.bincount(data.labels)) == sign_digits.COUNTS
    for colour in range(3):
        assert np.array_equal(data.pictures[:, colour], stored["images"][..., colour])
    back = np.ascontiguousarray(np.moveaxis(data.pictures, 1, -1))
    assert hashlib.sha256(back.data).hexdigest() == sign_digits.PIXELS_SHA256


@pytest.mark.parametrize("below", ["", "sign_digits", "sign_digits/sign_digits32.npz"])
def test_an_explicit_place_may_be_each_level(good: Path, below: str) -> None:
    assert sign_digits.load(good.parents[1] / below).pictures.any()


def test_without_a_place_the_named_folder_comes_before_the_cache(
    good: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "sign_digits").mkdir(parents=True)
    (cache / "sign_digits" / good.name).symlink_to(good)
    assert sign_digits.load().pictures.any()
    monkeypatch.setenv("METACCORD_DATA", str(tmp_path / "named"))
    assert sign_digits.load().pictures.any()
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / good.name).write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"named/sign_digits32\.npz"):
        sign_digits.load()


def test_a_missing_file_is_explained(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(tmp_path / "named"))
    with pytest.raises(DataError) as caught:
        sign_digits.load()
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path / "named"), str(cache), "sign_digits/sign_digits32.npz", "images"):
        assert part in message
    with pytest.raises(DataError, match=r"was not found in .*empty: it is not fetched"):
        sign_digits.load(tmp_path / "empty")


def test_damaged_files_are_named(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path, draw, refused = tmp_path / good.name, random.Random(0), 0
    for _ in range(12):
        data = bytearray(content)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            assert sign_digits.load(path).pictures.any()
        except DataError as error:
            assert good.name in str(error)
            refused += 1
    assert refused > 9
    path.write_bytes(content[:-1000])
    with pytest.raises(DataError, match="is damaged"):
        sign_digits.load(path)


def test_one_wrong_pixel_or_label_is_found(good: Path, tmp_path: Path) -> None:
    path, stored = tmp_path / good.name, arrays(good)
    stored["images"][2061, 31, 31, 2] ^= 1
    np.savez(path, **stored)
    with pytest.raises(DataError, match=rf"expected {sign_digits.PIXELS_SHA256}"):
        sign_digits.load(path)
    stored["images"][2061, 31, 31, 2] ^= 1
    stored["labels"][205] = 0
    np.savez(path, **stored)
    with pytest.raises(DataError, match="'labels' is not the digits"):
        sign_digits.load(path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"images": np.zeros((10, 32, 32, 3), np.uint8)}, "'images' is not as expected"),
        ({"labels": np.zeros(2062, np.int32)}, "'labels' is not as expected"),
        ({"labels": None}, "no array 'labels'"),
    ],
)
def test_other_arrays_are_refused(
    tmp_path: Path, wrong: dict[str, np.ndarray | None], words: str
) -> None:
    blank = {
        "images": np.random.default_rng(0).integers(256, size=(2062, 32, 32, 3), dtype=np.uint8),
        "labels": np.zeros(2062, np.int64),
    }
    np.savez(
        tmp_path / "other.npz", **{k: v for k, v in {**blank, **wrong}.items() if v is not None}
    )
    with pytest.raises(DataError, match=words):
        sign_digits.load(tmp_path / "other.npz")
