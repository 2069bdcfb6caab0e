"""Hostile archives: refused as a whole, nothing written, little memory."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import pytest

from metaccord.data import OMNIGLOT, Limits, fetch_file, omniglot, read_members
from metaccord.errors import DataError
from tests.data.conftest import remote, tree
from tests.data.hostile import DAMAGED, GOOD, REFUSED, named, pack
from tests.data.server import Server, whole

SMALL = Limits(1 << 20, members=50, member_bytes=1 << 18, total_bytes=1 << 20)


def duplicate() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return named("a", "a")


def test_good_members_come_in_order() -> None:
    members = [("a/", b""), ("a/b", b"1"), ("a/c", bytes(60_000)), ("\u00e9", b"")]
    expected = [(GOOD, b"good"), *(pair for pair in members if pair[0] != "a/")]
    assert list(read_members(pack(members), "x.zip", SMALL)) == expected


@pytest.mark.parametrize("trick", [*REFUSED, "duplicate"])
def test_a_hostile_archive_yields_nothing(trick: str) -> None:
    content = duplicate() if trick == "duplicate" else REFUSED[trick]
    with pytest.raises(DataError, match=r"archive x\.zip is (refused|damaged).*fresh copy"):
        next(read_members(content, "x.zip", SMALL))


@pytest.mark.parametrize("trick", DAMAGED)
def test_a_damaged_member_is_named_and_bounded(trick: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"archive x\.zip, member '.*' is damaged"):
            list(read_members(DAMAGED[trick], "x.zip", SMALL))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_each_trick_is_needed() -> None:
    """The archives differ from a good one by their trick only."""
    assert len(REFUSED) + len(DAMAGED) + 1 >= 30
    assert [name for name, _ in read_members(named("a", "b/c"), "x.zip", SMALL)] == [
        GOOD,
        "a",
        "b/c",
    ]


def test_a_hostile_download_writes_only_the_archive(
    server: Server, tmp_path: Path, cache: Path
) -> None:
    content = REFUSED["parent"]
    files = tuple(remote(file.name, content) for file in OMNIGLOT.files)
    for file in files:
        server.answers[f"/{file.name}"] = whole(content)
    with pytest.raises(DataError, match=r"leads outside"):
        omniglot.fetch(entry=OMNIGLOT._replace(files=files), connection=server.connection())
    kept = {name for name, data in tree(tmp_path).items() if data}
    assert kept == {f"cache/omniglot/{file.name}" for file in files}
    assert fetch_file(files[0], cache / "omniglot").read_bytes() == content
