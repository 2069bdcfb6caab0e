"""Tar archives: what the standard library writes is read, what is hostile is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaccord.data import tars
from metaccord.errors import DataError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def info(
    name: str, length: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = length, kind, link
    return found


def write(path: Path, files: dict[str, bytes], mode: str = "w", style: str = "gnu") -> Path:
    with tarfile.open(path, mode, format=FORMATS[style]) as archive:
        for name, content in files.items():
            archive.addfile(info(name, len(content)), io.BytesIO(content))
    return path


def content(path: Path, most: int = 1 << 30) -> dict[str, bytes]:
    with tars.opened(path) as handle:
        return {m.name: tars.read(handle, m, most) for m in tars.walk(handle, str(path), most)}


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_what_tarfile_writes_is_read(style: str, suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    long = "/".join(["folder" * 5] * 4) + "/x.bin"
    files = {f"a/{i}.bin": rng.bytes(int(n)) for i, n in enumerate((0, 1, 511, 512, 513, 9000))}
    files[long] = b"long"
    mode = "w" if suffix == ".tar" else "w:gz"
    path = write(tmp_path / f"x{suffix}", files, mode, style)
    with tarfile.open(path) as archive:
        assert set(archive.getnames()) == set(files)
    assert content(path) == files


def test_folders_are_passed_over_and_a_tar_in_a_tar_is_walked(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner.tar", {"x": b"1", "y": b"22"}).read_bytes()
    path = tmp_path / "outer.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(info("d", kind=tarfile.DIRTYPE))
        archive.addfile(info("d/inner.tar", len(inner)), io.BytesIO(inner))
    with tars.opened(path) as handle:
        (member,) = tars.walk(handle, "outer", 1 << 20)
        handle.seek(member.start)
        found = list(tars.walk(handle, "inner", member.length, member.start + member.length))
        assert [tars.read(handle, m, 10) for m in found] == [b"1", b"22"]


def special(kind: bytes, name: str = "x", link: str = "y") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            archive.addfile(info(name, kind=kind, link=link))

    return make


def cut(path: Path) -> None:
    write(path, {"x": b"1" * 2000})
    path.write_bytes(path.read_bytes()[:1400])


def flip(path: Path) -> None:
    write(path, {"x": b"1" * 2000})
    found = bytearray(path.read_bytes())
    found[20] ^= 1
    path.write_bytes(found)


def endless_name(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info("n" * (1 << 18), 0))


def claims(length: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(info("x", length).tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    return make


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (special(tarfile.SYMTYPE), "link or device"),
    "hard link": (special(tarfile.LNKTYPE), "link or device"),
    "device": (special(tarfile.CHRTYPE), "link or device"),
    "pipe": (special(tarfile.FIFOTYPE), "link or device"),
    "absolute": (special(tarfile.REGTYPE, "/etc/x"), "leads outside"),
    "upward": (special(tarfile.REGTYPE, "a/../../x"), "leads outside"),
    "cut": (cut, "ends inside|ends too early"),
    "flip": (flip, "damaged or no tar"),
    "text": (lambda path: path.write_text("hello " * 500), "damaged or no tar"),
    "empty": (lambda path: path.write_bytes(b""), "ends too early"),
    "long name": (endless_name, "a name of 262"),
    "claims much": (claims(1 << 50), "claims more than"),
    "claims too much to count": (claims((1 << 80) - 1), "claims more than"),
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    make, words = BAD[name]
    make(tmp_path / "x.tar")
    with pytest.raises(DataError, match=words):
        content(tmp_path / "x.tar", 1 << 24)


def test_a_bomb_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tgz", {"zeros": bytes(1 << 24)}, "w:gz")
    assert path.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="claims more than 1048576 bytes"):
        content(path, 1 << 20)


def test_damaged_gzip_is_a_data_error(tmp_path: Path) -> None:
    good = write(
        tmp_path / "x.tgz", {"x": np.random.default_rng(0).bytes(4000)}, "w:gz"
    ).read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        found = bytearray(good)
        found[rng.integers(12, len(found))] ^= 1 << int(rng.integers(8))
        (tmp_path / "x.tgz").write_bytes(found[: rng.integers(30, len(found) + 1)])
        try:
            content(tmp_path / "x.tgz", 1 << 20)
        except DataError:
            refused += 1
    assert refused > 150
