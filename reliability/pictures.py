"""Folders of pictures: all broken files are named, bombs take no memory, the cache never lies.

python reliability/pictures.py --json results/reliability/pictures.json
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from outcomes import main
from PIL import Image

from metaccord.data.pictures import reading
from metaccord.data.pictures.check import check
from metaccord.data.pictures.decode import Form, decode
from metaccord.data.pictures.folders import listed
from metaccord.errors import DataError
from metaccord.selftest import Cases, Outcome

FORM = Form(16, "colour")
FILES, BROKEN, FLIPS, KILLS, BOMBS = 10_000, 37, 500, 60, 8


def filled(root: Path, classes: int, each: int, rng: np.random.Generator) -> Path:
    """Write class folders of small PNG and JPEG pictures."""
    for number in range(classes):
        (root / f"class{number:03d}").mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            suffix = "jpg" if i % 2 else "png"
            Image.fromarray(pixels).save(root / f"class{number:03d}" / f"{i:04d}.{suffix}")
    return root


def broken_files(folder: Path, rng: np.random.Generator) -> Outcome:
    """Break some of many files; the check must name exactly these."""
    start = time.perf_counter()
    root = filled(folder / "many", 50, FILES // 50, rng)
    files = sorted(str(path) for path in root.rglob("*.*"))
    chosen = {files[i] for i in rng.choice(len(files), BROKEN, replace=False)}
    for name in chosen:
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(len(content) * rng.uniform(0.1, 0.7))])
    named = {text.split(" ")[1] for text in check(root).problems}
    wrong = [f"{name} is intact" for name in named - chosen]
    wrong += [f"{name} was missed" for name in chosen - named]
    promise = "data check names each broken file and no other"
    cases = Cases(len(files), len(files), wrong)
    return Outcome.of_runs("broken files", promise, cases, start, f"{BROKEN} broken")


def bomb(width: int, height: int, weight: int) -> bytes:
    """Return a PNG file that claims a size and holds so many packed zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(weight), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def _grown(content: bytes, answer: multiprocessing.SimpleQueue) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        decode(content, FORM, "bomb")
        refused = False
    except DataError:
        refused = True
    answer.put((refused, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def bombs(folder: Path, rng: np.random.Generator) -> Outcome:
    """Decode hostile pictures, each in a process of its own; memory must not grow by 100 MiB."""
    start, worst, accepted = time.perf_counter(), 0.0, 0
    sizes = [(30_000, 30_000), (9000, 9000), (1 << 30, 1), (1, 1 << 30)]
    context, answer = multiprocessing.get_context("fork"), multiprocessing.SimpleQueue()
    for number in range(BOMBS):
        content = bomb(*sizes[number % len(sizes)], 1 << (20 + 4 * (number // len(sizes))))
        child = context.Process(target=_grown, args=(content, answer))
        child.start()
        refused, grown = answer.get()
        child.join()
        worst, accepted = max(worst, grown), accepted + (not refused)
    promise = "a picture that claims too much is refused before memory grows by 100 MiB"
    seconds = time.perf_counter() - start
    figure = worst if not accepted else float("inf")
    return Outcome("bombs", promise, BOMBS, BOMBS, figure, 100.0, seconds, "MiB", True)


def _opened(root: Path) -> np.ndarray:
    found = reading.opened(reading.contents(listed(root)), FORM)
    return found.rows(np.arange(len(found)))


def flips(folder: Path, rng: np.random.Generator) -> Outcome:
    """Flip one bit of the cache after the other; what is read must be right, or refused."""
    start, wrong, fired = time.perf_counter(), [], 0
    root = filled(folder / "few", 6, 6, rng)
    right = _opened(root)
    for _ in range(FLIPS):
        files = [p for p in (folder / "cache").rglob("*") if p.suffix in (".npy", ".json")]
        path = files[rng.integers(len(files))]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        fired += 1
        if not np.array_equal(_opened(root), right):
            wrong.append(f"other pixels after a flip in {path.name}")
    promise = "a flipped bit in the cache never changes a picture"
    return Outcome.of_runs("flips", promise, Cases(FLIPS, fired, wrong), start, "cache files")


def kills(folder: Path, rng: np.random.Generator) -> Outcome:
    """Kill builders at random moments; the next one must give the right pictures."""
    start, wrong, fired = time.perf_counter(), [], 0
    root = filled(folder / "killed", 10, 60, rng)
    right = _opened(root)
    lasted = _built(folder, root)
    context = multiprocessing.get_context("fork")
    for number in range(4 * KILLS):
        shutil.rmtree(folder / "cache" / "pictures")
        child = context.Process(target=_opened, args=(root,))
        child.start()
        time.sleep(lasted * rng.uniform(0, 0.9))
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        fired += child.exitcode == -signal.SIGKILL
        if not np.array_equal(_opened(root), right):
            wrong.append(f"other pixels after kill {number}")
        if list((folder / "cache" / "pictures").glob(".*.part")):
            wrong.append(f"a leftover after kill {number}")
        if fired == KILLS:
            break
    promise = "a killed builder of the cache leaves work, no harm"
    detail = f"{number + 1} builders, {fired} died before they were done"
    return Outcome.of_runs("kills", promise, Cases(KILLS, fired, wrong), start, detail)


def _built(folder: Path, root: Path) -> float:
    """Return the seconds that building the cache takes."""
    shutil.rmtree(folder / "cache" / "pictures")
    start = time.perf_counter()
    _opened(root)
    return time.perf_counter() - start


def checks(folder: Path, seed: int) -> Iterator[Outcome]:
    """Yield what each check found."""
    os.environ["METACCORD_CACHE"] = str(folder / "cache")
    rng = np.random.default_rng(seed)
    for one in (broken_files, bombs, flips, kills):
        yield one(folder, rng)


if __name__ == "__main__":
    main(__doc__, checks)
