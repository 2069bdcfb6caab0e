"""12,870 damaged files: checkpoints, runs, learners, adapted models, data; none is accepted.

    python reliability/damage.py --json results/reliability/damage.json

11,000 flipped bits, 1,100 cut files, 770 exchanged ones. Data is a graph, pinned by a hash of the
file, and what METACCORD_DATA holds of Omniglot and the sign digits, pinned by a hash of the
pixels: there a damaged file may still be used if every pixel is right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from outcomes import main

from metaccord import deploy
from metaccord.data import graphs, omniglot, sign_digits
from metaccord.saved import load
from metaccord.selftest import Outcome
from metaccord.selftest.damage import Damages, Victim, damage, strike
from metaccord.selftest.trial import go_on, trial
from metaccord.types import Batch

STORE = Damages(flips=8000, truncations=700, swaps=600)
ADAPTED = Damages(flips=1000, truncations=100, swaps=70)
GRAPH = Damages(flips=1500, truncations=200, swaps=70)
PICTURES = Damages(flips=500, truncations=100, swaps=30)
PINNED = "pinned"


def adapted(folder: Path) -> Victim:
    """Adapt two learners to one wave each, and return the folder of the first model."""
    models: list[dict[str, bytes]] = []
    for seed in range(2):
        for _ in go_on(trial("steps=1", f"seed={seed}"), folder / f"run-{seed}"):
            pass
        x = torch.linspace(-5, 5, 5)[:, None]
        load(folder / f"run-{seed}").predictor(Batch(x, torch.sin(x + seed))).save(
            folder / f"model-{seed}"
        )
        files = sorted((folder / f"model-{seed}").iterdir())
        models.append({path.name: path.read_bytes() for path in files})
    place = folder / "model-0"

    def read() -> list[object]:
        found = deploy.load(place)
        return [
            found.card,
            *(tensor.numpy().tobytes() for tensor in found.module.state_dict().values()),
        ]

    return Victim("adapted model", place, models[0], (models[1],), read)


@contextmanager
def graph(folder: Path) -> Iterator[Victim]:
    """Give a small graph whose hash is in the catalogue, and two that may be put in its place."""
    contents = [_graph(folder / f"{seed}.npz", seed) for seed in range(3)]
    files = {**graphs.FILES, PINNED: hashlib.sha256(contents[0]).hexdigest()}
    name = f"graphs/{PINNED}.npz"
    others = tuple({name: content} for content in contents[1:])
    with mock.patch.object(graphs, "FILES", files):
        yield Victim(
            "graph", folder, {name: contents[0]}, others, lambda: graphs.load(PINNED, folder)
        )


def pictures(folder: Path) -> list[Victim]:
    """Return copies of the picture sets that METACCORD_DATA holds."""
    root = Path(os.environ.get("METACCORD_DATA", folder))
    found = []
    for name, module, size in (("omniglot", omniglot, 28), ("sign_digits", sign_digits, 32)):
        file = f"{name}/{name}{size}.npz"
        if (root / file).is_file():
            content = (root / file).read_bytes()
            swapped = ({file: content[::-1]}, {file: content[: len(content) // 2] * 2})
            read = _pixels(module.load, folder / file)
            victim = Victim(name, folder, {file: content}, swapped, read)
            victim.suffers({})
            found.append(replace(victim, allowed=(read(),)))
    return found


def _pixels(load: Callable[[Path], Any], path: Path) -> Callable[[], list[bytes]]:
    """Return a reader that gives hashes of all arrays."""

    def read() -> list[bytes]:
        arrays = [part for part in load(path) if isinstance(part, np.ndarray)]
        return [hashlib.sha256(np.ascontiguousarray(a).data).digest() for a in arrays]

    return read


def _graph(path: Path, seed: int) -> bytes:
    """Write a ring of 60 nodes with random features and return the bytes of the file."""
    draw = np.random.default_rng(seed)
    nodes, width = 60, 5
    np.savez_compressed(
        path,
        adj_indptr=np.arange(nodes + 1, dtype=np.int32),
        adj_indices=np.roll(np.arange(nodes, dtype=np.int32), 1),
        feat_indptr=np.arange(0, nodes * width + 1, width, dtype=np.int32),
        feat_indices=np.tile(np.arange(width, dtype=np.int16), nodes),
        feat_data=draw.normal(size=nodes * width).astype(np.float32),
        feat_dim=np.int64(width),
        labels=np.arange(nodes, dtype=np.int64) % 6,
    )
    return path.read_bytes()


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    for name in ("store", "adapted", "graph", "pictures"):
        (folder / name).mkdir()
    yield replace(damage(folder / "store", STORE, seed=seed), name="damaged files: store")
    yield strike([adapted(folder / "adapted")], ADAPTED, seed=seed)
    with graph(folder / "graph") as victim:
        yield strike([victim], GRAPH, seed=seed)
    found = pictures(folder / "pictures")
    if not found:
        print("no pictures: set METACCORD_DATA to damage Omniglot and the sign digits too")
    else:
        yield replace(strike(found, PICTURES, seed=seed), name="damaged files: pictures")


if __name__ == "__main__":
    main(__doc__, _checks)
