"""Episodes per second of the cache of decoded pictures, beside plain PyTorch data loaders.

All contestants give the same episodes, to the bit; that is checked first. Each round gives
everybody a turn, every other round backwards; a ratio is taken within its round. The clock of a
turn starts when its first episode is there: starting workers does not count against a loader.

    python benchmarks/loading.py --json results/loading/loading.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import metaccord as mc

HERE = Path(__file__).parent
Contestant = Callable[[range], Iterator[torch.Tensor]]


def make(root: Path, classes: int, each: int, width: int, height: int) -> None:
    """Write JPEG pictures: noise of two scales, so that they weigh what photographs do."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        folder = root / f"class{number:03d}"
        folder.mkdir(parents=True)
        for i in range(each):
            layers = [
                Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
                for side in (6, 60)
            ]
            Image.blend(*layers, 0.3).save(folder / f"{i:04d}.jpg", quality=90)


class Files(Dataset):
    """What a user would write: open, decode, resize and scale one picture."""

    def __init__(self, tasks: mc.tasks.Folders) -> None:
        self.paths = sorted(Path(tasks.path).glob("*/*.jpg"))
        self.coding = tasks.coding
        self.mean, self.deviation = (
            torch.tensor(x)[:, None, None] for x in (tasks.mean, tasks.deviation)
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as picture:
            side = self.coding.size
            small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        return (pixels.float() - self.mean) / self.deviation


class Decoded(Files):
    """The same with all pictures decoded and in memory beforehand."""

    def __init__(self, tasks: mc.tasks.Folders) -> None:
        super().__init__(tasks)
        pictures = tasks.held().pictures
        self.pixels = torch.from_numpy(np.array(pictures.rows(np.arange(len(pictures)))))

    def __getitem__(self, row: int) -> torch.Tensor:
        return (self.pixels[row].float() - self.mean) / self.deviation


def rows_of(tasks: mc.tasks.Folders, step: int) -> list[int]:
    """Return the pictures of one episode: the support set, then the query set."""
    rows = tasks.drawn("train", step, range(1)).rows[0]
    return [*rows[:, : tasks.shots].ravel().tolist(), *rows[:, tasks.shots :].ravel().tolist()]


def ours(tasks: mc.tasks.Folders) -> Contestant:
    """The library: an episode is a gather from the mapped cache."""

    def run(steps: range) -> Iterator[torch.Tensor]:
        for step in steps:
            episode = tasks.episodes("train", step, range(1))
            yield torch.cat([episode.support.inputs[0], episode.query.inputs[0]])

    return run


def loader(tasks: mc.tasks.Folders, data: Dataset, workers: int) -> Contestant:
    """A DataLoader with a batch for each episode."""

    def run(steps: range) -> Iterator[torch.Tensor]:
        batches = [rows_of(tasks, step) for step in steps]
        yield from DataLoader(data, batch_sampler=batches, num_workers=workers)

    return run


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=40)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--width", type=int, default=250)
    parser.add_argument("--height", type=int, default=190)
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--episodes", type=int, default=20, help="of one turn")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def race(contestants: dict[str, Contestant], rounds: int, episodes: int) -> dict[str, list[float]]:
    """Return episodes per second of each contestant in each round."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        names = list(contestants) if number % 2 else list(contestants)[::-1]
        for name in names:
            start = time.perf_counter()
            count = sum(
                1 for _ in contestants[name](range(number * episodes, (number + 1) * episodes))
            )
            if number:  # the first round warms up
                found[name].append(count / (time.perf_counter() - start))
    return found


def main() -> int:
    """Run the benchmark."""
    options = parsed()
    torch.set_num_threads(1)
    record = machine.described(options)
    record["load before"] = os.getloadavg()
    with tempfile.TemporaryDirectory() as place:
        os.environ["METACCORD_CACHE"] = f"{place}/cache"
        root = Path(place) / "pictures"
        make(root, options.classes, options.each, options.width, options.height)
        sizes = [path.stat().st_size for path in root.glob("*/*")]
        start = time.perf_counter()
        tasks = mc.tasks.from_folders(root, ways=5, shots=1, queries=15, size=options.size)
        built = time.perf_counter() - start
        start = time.perf_counter()
        mc.tasks.from_folders(root, ways=5, shots=1, queries=15, size=options.size)
        again = time.perf_counter() - start
        contestants = {
            "metaccord": ours(tasks),
            "files, 0 workers": loader(tasks, Files(tasks), 0),
            f"files, {options.workers} workers": loader(tasks, Files(tasks), options.workers),
            "in memory, 0 workers": loader(tasks, Decoded(tasks), 0),
        }
        first = [next(iter(run(range(1)))) for run in contestants.values()]
        if not all(torch.equal(first[0], other) for other in first):
            print("the contestants give different episodes", file=sys.stderr)
            return 1
        speeds = race(contestants, options.rounds, options.episodes)
    record["load after"] = os.getloadavg()
    record["pictures"] = {"count": len(sizes), "bytes each": sum(sizes) // len(sizes)}
    record["seconds"] = {"first look, with decoding": built, "later look": again}
    record["cases"] = {name: summary(found, speeds["metaccord"]) for name, found in speeds.items()}
    for name, case in record["cases"].items():
        ratio = f"metaccord is {case['ratio']:.1f} times as fast"
        print(f"{name:22} {case['median']:8.1f} episodes/s; {ratio}")
    print(f"first look {built:.1f} s, later {again:.2f} s; load {record['load before']}")
    machine.write(record, options.json)
    return 0


def summary(found: list[float], base: list[float]) -> dict[str, Any]:
    """Return speeds, their median, and the median ratio within rounds with its range."""
    ratios = [b / f for f, b in zip(found, base, strict=True)]
    return {
        "episodes per second": found,
        "median": statistics.median(found),
        "ratio": statistics.median(ratios),
        "ratio range": [min(ratios), max(ratios)],
    }


if __name__ == "__main__":
    sys.exit(main())
