"""All roads lead to the same bits; what is damaged or absent is named."""

from __future__ import annotations

import hashlib
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from metaccord.data import OMNIGLOT, DataSet, find_data_set, omniglot, one_shot_runs
from metaccord.errors import DataError, UsageError
from tests.data.conftest import tree
from tests.data.server import Server, whole


@pytest.fixture(scope="module")
def unpacked(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives, unpacked into folders."""
    folder = tmp_path_factory.mktemp("folders")
    for path in archives.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)  # our own archive
    return folder


@pytest.fixture
def decoded(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding, which the test of fetch shows, gives the known pictures at once."""
    pictures = omniglot.load(data_root).pictures
    monkeypatch.setattr(omniglot, "assemble", lambda *given: pictures)


def placed(folder: Path) -> Path:
    """A folder with files of the archives' names."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in OMNIGLOT.files:
        (folder / file.name).write_bytes(b"another")
    return folder


def sha256(pictures: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures).data).hexdigest()


def test_the_processed_file(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(data_root))
    data = omniglot.load()
    assert data.pictures.shape == (1623, 20, 28, 28)
    assert data.pictures.dtype == np.uint8
    assert sha256(data.pictures) == OMNIGLOT.pixels.sha256
    with np.load(data_root / "omniglot" / "omniglot28.npz", allow_pickle=False) as arrays:
        assert np.array_equal(data.alphabet, arrays["class_alphabet"])
        assert np.array_equal(data.character, arrays["class_character"])
        assert np.array_equal(data.partition, arrays["class_partition"])
        assert np.array_equal(data.vinyals, arrays["class_vinyals_split"])
        assert list(data.alphabet_names) == arrays["alphabet_names"].tolist()
    assert np.bincount(data.vinyals).tolist() == [1028, 172, 423]
    assert np.bincount(data.partition).tolist() == [964, 659]


@pytest.mark.parametrize("below", ["", "omniglot", "omniglot/omniglot28.npz"])
def test_an_explicit_path_may_be_each_level(data_root: Path, below: str) -> None:
    source = omniglot.Source("npz", data_root / "omniglot" / "omniglot28.npz")
    assert omniglot.verify(data_root / below) == source


@pytest.mark.long  # the test of fetch decodes them as well
def test_the_archives_give_the_same_bits(archives: Path, entry: DataSet, cache: Path) -> None:
    data = omniglot.load(str(archives), entry=entry)
    assert sha256(data.pictures) == OMNIGLOT.pixels.sha256
    assert not cache.exists()


@pytest.mark.long
def test_the_folders_give_the_same_bits(unpacked: Path) -> None:
    (unpacked / "images_background" / "Latin" / ".DS_Store").write_bytes(b"ignored")
    assert omniglot.verify(unpacked) == omniglot.Source("folders", unpacked)
    lost = unpacked / "images_background" / "Latin" / "character01" / "0683_07.png"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 32460 drawings, the first 0683_07\.png"):
        omniglot.load(unpacked)
    other = lost.with_name("0683_08.png")
    lost.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=r"holds other pictures than omniglot: found pixel SHA"):
        omniglot.load(unpacked)
    lost.write_bytes(content)


def test_fetch_then_load_without_a_network(
    server: Server,
    archives: Path,
    entry: DataSet,
    cache: Path,
    request: pytest.FixtureRequest,
) -> None:
    for file in entry.files:
        server.answers[f"/{file.name}"] = whole((archives / file.name).read_bytes())
    path = omniglot.fetch(entry=entry, connection=server.connection())
    assert path == cache / "omniglot" / "omniglot28.npz"
    assert omniglot.find(entry=entry) == omniglot.Source("npz", path)
    assert sha256(omniglot.load(entry=entry).pictures) == OMNIGLOT.pixels.sha256
    assert omniglot.fetch(entry=entry, connection=server.connection()) == path
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"omniglot28\.npz is damaged"):
        omniglot.load(entry=entry)
    request.getfixturevalue("decoded")
    omniglot.fetch(entry=entry, connection=server.connection())
    assert omniglot.verify(entry=entry).road == "npz"
    assert len(server.asked) == 2
    assert not [name for name in tree(cache) if name.endswith(".part")]


@pytest.mark.usefixtures("decoded")
def test_archives_placed_by_hand_are_decoded_once(cache: Path) -> None:
    placed(cache / "omniglot")
    assert omniglot.find().road == "archives"
    omniglot.load()
    assert omniglot.verify().road == "npz"


@pytest.mark.usefixtures("decoded")
def test_a_cache_that_cannot_be_written_costs_only_time(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(staged: Path, final: Path) -> None:
        raise OSError(28, "planted")

    placed(cache / "omniglot")
    monkeypatch.setattr(omniglot, "publish", fail)
    assert omniglot.load().pictures.any()
    assert omniglot.find().road == "archives"


def test_other_archives_are_refused_by_their_md5(tmp_path: Path) -> None:
    archives = placed(tmp_path)
    with pytest.raises(DataError, match=r"images_background\.zip is damaged or another file.*68d2"):
        omniglot.load(archives)


def test_the_order_of_the_search(
    data_root: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = data_root / "omniglot" / "omniglot28.npz"
    places = [tmp_path / "explicit", tmp_path / "named", cache]
    for place in places:
        (place / "omniglot").mkdir(parents=True)
        (place / "omniglot" / "omniglot28.npz").symlink_to(good)
    monkeypatch.setenv("METACCORD_DATA", str(places[1]))
    found = [omniglot.find(places[0]).place, omniglot.find().place]
    (places[1] / "omniglot" / "omniglot28.npz").unlink()
    found.append(omniglot.find().place)
    assert found == [place / "omniglot" / "omniglot28.npz" for place in places]


def test_an_explicit_path_is_never_replaced_by_another(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METACCORD_DATA", str(data_root))
    with pytest.raises(DataError, match=r"was not found in .*empty: run"):
        omniglot.load(tmp_path / "empty")


def test_the_message_tells_every_way(cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        omniglot.load()
    message = str(caught.value)
    assert "\n" not in message
    for part in ("metaccord data fetch omniglot", "METACCORD_DATA", str(cache / "omniglot")):
        assert part in message
    for file in OMNIGLOT.files:
        assert file.url in message
        assert f"{file.name} ({file.size} bytes, MD5 {file.md5})" in message


def test_damaged_files_are_named(data_root: Path, tmp_path: Path) -> None:
    good = (data_root / "omniglot" / "omniglot28.npz").read_bytes()
    path, draw, refused = tmp_path / "omniglot28.npz", random.Random(0), 0
    for _ in range(40):
        data = bytearray(good)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            assert sha256(omniglot.load(path).pictures) == OMNIGLOT.pixels.sha256
        except DataError as error:
            assert "omniglot28.npz" in str(error)
            refused += 1
    assert refused > 30


def test_one_wrong_pixel_is_found(data_root: Path, tmp_path: Path) -> None:
    with np.load(data_root / "omniglot" / "omniglot28.npz", allow_pickle=False) as arrays:
        bits = arrays["bits"].copy()
    bits[1622, 19, 97] ^= 1
    np.savez_compressed(tmp_path / "omniglot28.npz", bits=bits)
    with pytest.raises(DataError, match=rf"expected {OMNIGLOT.pixels.sha256}"):
        omniglot.verify(tmp_path)


def test_the_original_pixels(originals: np.ndarray) -> None:
    digest = hashlib.sha256()
    for packed in originals:
        digest.update(np.unpackbits(packed, axis=-1, count=105 * 105).data)
    assert digest.hexdigest() == OMNIGLOT.original_pixels.sha256


def test_the_one_shot_runs(data_root: Path, originals: np.ndarray) -> None:
    runs = one_shot_runs()
    with np.load(data_root / "omniglot" / "one_shot_runs.npz", allow_pickle=False) as arrays:
        for name in ("train_class", "test_class", "answers"):
            assert np.array_equal(getattr(runs, name), arrays[name])
        for part in ("train", "test"):
            drawer = getattr(runs, f"{part}_drawer")
            assert np.array_equal(drawer, arrays[f"{part}_drawer"] - 1)
            chosen = originals[getattr(runs, f"{part}_class"), drawer]
            assert np.array_equal(chosen, arrays[f"{part}_bits"])


def test_the_catalogue_knows_its_names() -> None:
    assert find_data_set("omniglot") is OMNIGLOT
    assert all(file.url.startswith("https://") for file in OMNIGLOT.files)
    with pytest.raises(UsageError, match="did you mean 'omniglot'"):
        find_data_set("omnigloth")
