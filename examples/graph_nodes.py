"""Nodes of a graph
================

Tell new classes of nodes apart after three labelled nodes of each. The graph is made by the script:
twelve communities, whose nodes link mostly to each other; a file of yours takes the same lines.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import metaccord as mc

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--out", type=Path, help="default: a temporary folder")
options = parser.parse_args()
out = options.out or Path(tempfile.mkdtemp())
out.mkdir(parents=True, exist_ok=True)

# %%
# Edges and features as sparse rows, one label per node.
draw = np.random.default_rng(0)
labels = np.repeat(np.arange(12), 25)
alike = labels[:, None] == labels[None]
edges = draw.random(alike.shape) < np.where(alike, 0.15, 0.006)
edges |= edges.T
centres = draw.random((12, 40)) < 0.15
features = draw.random((len(labels), 40)) < np.where(centres[labels], 0.35, 0.1)


def rows(matrix: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Return a matrix of truth values as sparse rows."""
    ends = np.append(0, np.cumsum(matrix.sum(1))).astype(np.int32)
    return {f"{name}_indptr": ends, f"{name}_indices": np.nonzero(matrix)[1].astype(np.int32)}


np.savez(
    out / "graph.npz", **rows(edges, "adj"), **rows(features, "feat"), labels=labels,
    feat_data=np.ones(int(features.sum()), np.float32), feat_dim=np.int64(40),
    class_names=np.array([f"community {i}" for i in range(12)]),
)  # fmt: skip

# %%
# Features are propagated along the edges beforehand, ``hops`` times (SGC). Every score carries its
# protocol: also whether the whole graph is known during meta-training.
scores = {}
for hops in (0, 1, 2):
    tasks = mc.tasks.Nodes(graph=str(out / "graph.npz"), hops=hops, shots=3, split=(6, 3, 3))
    objective = mc.Objective(mc.models.SGC(40), mc.losses.cross_entropy)
    method = mc.methods.maml(steps=3, lr=0.5)
    for record in mc.train(method, objective, tasks, steps=options.steps, num_tasks=8):
        pass
    scores[hops] = mc.evaluate(method, objective, record.state, tasks, mc.Protocol(tasks=60))
    print(f"{hops} hops: {scores[hops]}")

# %%
# Neighbours help; the interval is over tasks.
means, halves = zip(*(score.accuracy for score in scores.values()), strict=True)
plt.figure(figsize=(5, 3))
plt.bar(
    [f"{hops} hops" for hops in scores],
    [100 * m for m in means],
    yerr=[100 * h for h in halves],
    capsize=4,
)
plt.axhline(50, color="k", linewidth=0.8)
plt.ylabel("accuracy on new classes, %")
plt.show()
