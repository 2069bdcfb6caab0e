"""Odd environments and paths, through the real command line in fresh processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.support import TINY, snapshot
from tests.cli.test_process import BARE, METACCORD

ODD = "an odd\nname é"


class Row(NamedTuple):
    """One process: its words, exit code, words of the message, and what its environment holds."""

    words: tuple[str, ...]
    code: int
    expected: tuple[str, ...]
    environment: dict[str, str] = {}  # noqa: RUF012


TRAIN = ("train", "sinusoid", "--steps", "1", "--set", *TINY)
ROWS: dict[str, Row] = {
    "WORLD_SIZE without RANK": Row(TRAIN, 2, ("RANK",), {"WORLD_SIZE": "2"}),
    "RANK beyond WORLD_SIZE": Row(TRAIN, 2, ("RANK",), {"WORLD_SIZE": "2", "RANK": "7"}),
    "WORLD_SIZE in words": Row(TRAIN, 2, ("WORLD_SIZE",), {"WORLD_SIZE": "two", "RANK": "0"}),
    "ASCII only": Row(("evaluate", "où"), 2, ("holds no run",), {"LC_ALL": "C"}),
    "narrow ASCII": Row(
        ("train", "sinusoïd"), 2, ("unknown tasks",), {"PYTHONIOENCODING": "ascii", "COLUMNS": "1"}
    ),
    "a path with a line end": Row(("evaluate", ODD), 2, ("holds no run", "odd")),
    "a folder that no one can make": Row((*TRAIN, "--out", "/proc/x/y"), 2, ("/proc/x/y", "--out")),
    "a device": Row((*TRAIN, "--out", "/dev/null"), 2, ("/dev/null", "cannot be a folder")),
    "a file as cache": Row(
        ("data", "verify", "omniglot"),
        3,
        ("data fetch omniglot",),
        {"METACCORD_CACHE": "/dev/null"},
    ),
    "a file as data": Row(
        ("train", "omniglot"), 3, ("was not found", "/dev/null"), {"METACCORD_DATA": "/dev/null"}
    ),
    "no data anywhere": Row(("train", "sign_digits"), 3, ("METACCORD_DATA",), {"HOME": "/nowhere"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_an_odd_environment(name: str, place: Path) -> None:
    row = ROWS[name]
    given = {**BARE, "METACCORD_CACHE": str(place.parent / "cache"), **row.environment}
    done = subprocess.run(
        (*METACCORD, *row.words), env=given, capture_output=True, timeout=60, check=False
    )
    text = done.stderr.decode("utf-8", "replace")
    assert done.returncode == row.code, text
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text
    assert [word for word in row.expected if word not in text] == [], text
    assert done.stdout == b""
    assert snapshot(place) == {}


def test_a_closed_output(place: Path) -> None:
    """Nobody can read the answer: no traceback, and the error still has its code."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        (*METACCORD, "cite", "mamml"),
        env=BARE,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: unknown method 'mamml'")
    assert done.stderr.count(b"\n") == 1
