"""What is installed: an import that does nothing else, and a wheel that is the source, always."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_hatchling = pytest.mark.skipif(
    find_spec("hatchling") is None, reason="needs hatchling, which builds the wheel"
)
WATCHED = """
import json, os, sys
seen = []
starts = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
          "ctypes.dlopen", "shutil.", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink",
          "os.putenv", "tempfile.")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(event, args):
    if event == "open" and args[2] & writing and args[0] != os.devnull:
        seen.append(f"open {args[0]}")
    elif event.startswith(starts):
        seen.append(event)

import torch, numpy
sys.dont_write_bytecode = True
sys.addaudithook(watch)
"""
HELP = """
from metaccord.cli.main import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code, end.code
"""


def watched(statement: str, folder: Path) -> list[str]:
    """Run a statement in a fresh process; return the events of files, sockets and processes."""
    found = subprocess.run(
        [sys.executable, "-c", f"{WATCHED}\n{statement}\nprint()\nprint(json.dumps(seen))"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert not list(folder.iterdir())
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.parametrize("statement", ["import metaccord", HELP], ids=["import", "--help"])
def test_nothing_is_opened_started_or_written(statement: str, tmp_path: Path) -> None:
    assert watched(statement, tmp_path) == []


def test_the_watch_sees_each_of_them(tmp_path: Path) -> None:
    planted = {
        "import socket; socket.socket().close()": "socket.__new__",
        "import subprocess; subprocess.run(['true'], check=True)": "subprocess.Popen",
        "import pathlib; p = pathlib.Path('x'); p.write_text('y'); p.unlink()": "open x",
    }
    found = watched("\n".join(planted), tmp_path)
    assert set(planted.values()) <= set(found)


@needs_hatchling
def test_two_wheels_are_the_same_and_hold_the_source(tmp_path: Path) -> None:
    """Built at two times in two places; nothing is in it but tracked files and the licence."""
    wheels = [_built(tmp_path / name) for name in ("one", "other")]
    assert wheels[0].name == wheels[1].name
    assert len({sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}) == 1
    with zipfile.ZipFile(wheels[0]) as file:
        content = {name: file.read(name) for name in file.namelist()}
    source = {name: data for name, data in content.items() if ".dist-info/" not in name}
    assert source == {
        name.removeprefix("src/"): (ROOT / name).read_bytes() for name in _tracked("src/metaccord")
    }
    rest = {name.partition(".dist-info/")[2]: content[name] for name in content.keys() - source}
    assert rest["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert set(rest) == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def _built(folder: Path) -> Path:
    """Copy what is tracked, with times of now, build its wheel without a network."""
    for name in _tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    out = folder / "wheels"
    words = ("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out))
    made = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--quiet", str(folder)],
        capture_output=True, text=True, timeout=300, check=False,
        env={k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (wheel,) = out.iterdir()
    return wheel


def _tracked(*below: str) -> list[str]:
    """Return the tracked files that are still there, without records of experiments."""
    words = ("git", "ls-files", "-z", "--", *(below or (".", ":!results", ":!experiments")))
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in found.split("\0") if name and (ROOT / name).is_file()]
