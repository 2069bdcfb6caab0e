"""Where the real data is, the archives rebuilt from it, and a server on the loopback."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaccord.data import OMNIGLOT, DataSet, RemoteFile
from metaccord.data.omniglot_facts import class_table
from tests.data.server import Server
from tests.folder import FOLDER


def remote(name: str, content: bytes, url: str = "https://example.invalid/") -> RemoteFile:
    """A catalogue entry for ``content``."""
    return RemoteFile(name, f"{url}{name}", hashlib.md5(content).hexdigest(), len(content))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, with its content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache, no data folder, no proxy."""
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METACCORD_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with omniglot/omniglot28.npz and its companions."""
    if FOLDER is None:
        pytest.skip("needs METACCORD_DATA: a folder with omniglot/omniglot28.npz")
    return FOLDER


@pytest.fixture(scope="session")
def originals(data_root: Path) -> np.ndarray:
    """The drawings before resizing, packed, ``[1623, 20, 1379]``."""
    path = data_root / "omniglot" / "omniglot105.npz"
    if not path.is_file():
        pytest.skip("needs omniglot/omniglot105.npz in METACCORD_DATA")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["bits"]


def png(bits: np.ndarray) -> bytes:
    """One drawing as the original files hold it: 1 bit, black ink on white."""
    pixels = np.unpackbits(bits, count=105 * 105).reshape(105, 105)
    stream = io.BytesIO()
    packed = np.packbits(1 - pixels, axis=1).tobytes()
    Image.frombytes("1", (105, 105), packed).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@pytest.fixture(scope="session")
def archives(originals: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives in the official layout, all 32460 drawings."""
    folder = tmp_path_factory.mktemp("archives")
    table = class_table()
    names = ("images_background", "images_evaluation")
    for partition, top in enumerate(names):
        with zipfile.ZipFile(folder / f"{top}.zip", "w") as archive:
            archive.writestr(f"{top}/", b"")
            for k in np.flatnonzero(table.partition == partition):
                alphabet = table.alphabet_names[table.alphabet[k]]
                place = f"{top}/{alphabet}/character{table.character[k]:02d}"
                for drawer in range(20):
                    name = f"{place}/{k + 1:04d}_{drawer + 1:02d}.png"
                    archive.writestr(name, png(originals[k, drawer]))
    return folder


@pytest.fixture(scope="session")
def entry(archives: Path) -> DataSet:
    """The catalogue's entry with the MD5 and size of the rebuilt archives."""
    files = tuple(remote(file.name, (archives / file.name).read_bytes()) for file in OMNIGLOT.files)
    return OMNIGLOT._replace(files=files)


@pytest.fixture(scope="session")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A hostile server that speaks https with a test certificate."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(https: Server) -> Server:
    """The server, with nothing to say yet."""
    https.reset()
    return https
