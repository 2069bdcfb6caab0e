"""A small graph in the layout of the data files, with everything that is awkward in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES, EACH, FEATURES = 6, 9, 11
HUB, ISOLATED = 7, 0  # half of all nodes are neighbours; none is
UNLABELLED, BLANK = (54, 55), 56  # no label; no label and no features


def small_graph(seed: int = 0) -> dict[str, np.ndarray]:
    """Return 57 nodes: a hub, one-way edges, self loops, an isolated node, three unlabelled."""
    draw = np.random.default_rng(seed)
    nodes = CLASSES * EACH + 3
    edges = draw.random((nodes, nodes)) < 0.04
    edges[HUB] |= draw.random(nodes) < 0.5
    edges[3, 3] = edges[9, 9] = True
    edges[9, 20] = edges[20, 9] = True
    edges[ISOLATED] = edges[:, ISOLATED] = False
    edges[54, 1] = edges[2, 55] = True
    values = np.where(draw.random((nodes, FEATURES)) < 0.4, draw.normal(size=(nodes, FEATURES)), 0)
    values[BLANK] = 0
    labels = np.append(np.arange(CLASSES).repeat(EACH), [-1, -1, -1])
    return {
        "adj_indptr": np.append(0, np.cumsum(edges.sum(1))).astype(np.int32),
        "adj_indices": np.nonzero(edges)[1].astype(np.int32),
        "feat_indptr": np.append(0, np.cumsum((values != 0).sum(1))).astype(np.int32),
        "feat_indices": np.nonzero(values)[1].astype(np.int16),
        "feat_data": values[values != 0].astype(np.float32),
        "feat_dim": np.int64(FEATURES),
        "labels": labels.astype(np.int64),
        "class_names": np.array(["a", "b", "c", "d", "e", "f"]),
    }


def store(folder: Path, **changed: np.ndarray | None) -> str:
    """Write the small graph with some arrays changed, or left out (None); return its path."""
    arrays = {k: v for k, v in (small_graph() | changed).items() if v is not None}
    path = folder / "small.npz"
    np.savez_compressed(path, **arrays)
    return str(path)
