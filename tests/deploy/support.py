"""Small learners and tasks for the tests of adapted models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import metaccord as mc
from metaccord import tree
from tests import cases

PLAN = mc.Plan(chunk=1)


def sine(steps: int = 3) -> mc.Learner:
    """Return a learner of sine waves that knows its experiment, without any file."""
    from metaccord.defaults import default
    from metaccord.learner import Origin

    experiment = default("sinusoid").changed(["model.hidden=[8]", "tasks.shots=5", "plan.chunk=1",
                                              f"rule.steps={steps}"])  # fmt: skip
    objective = experiment.objective()
    state = mc.initialise(experiment.method, objective, seed=1)
    return mc.Learner(experiment.method, objective, state, Origin(experiment, "0" * 64))


def conv(method: mc.Method | None = None, tracked: bool = False) -> mc.Learner:
    """Return a learner of small pictures in 3 classes, with BatchNorm."""
    model = mc.models.Conv4(ways=3, hidden=4, size=6, tracked=tracked)
    objective = mc.Objective(model, mc.losses.cross_entropy, PLAN)
    method = method or mc.methods.maml(steps=2, lr=0.3)
    return mc.Learner(method, objective, mc.initialise(method, objective, seed=0))


BLOBS = cases.Blobs(shots=3, queries=4)


def blobs(index: int = 0) -> tuple[mc.Batch, mc.Batch]:
    """Return support and query sets of one task for :func:`conv`."""
    episodes = BLOBS.episodes("test", 0, range(index, index + 1))
    support, query = tree.unbind((episodes.support, episodes.query))[0]
    return mc.Batch(*support[:2]), mc.Batch(*query[:2])


def wave(count: int = 5, seed: int = 0) -> mc.Batch:
    """Return points of a sine wave for :func:`sine`."""
    x = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed)) * 10 - 5
    return mc.Batch(x, 2 * torch.sin(x + 1))


def wave_files(folder: Path) -> tuple[Path, Path]:
    """Write a support set and inputs as npz files."""
    batch = wave()
    np.savez(folder / "support.npz", X=batch.inputs.numpy(), y=batch.targets.numpy())
    np.savez(folder / "inputs.npz", X=wave(7, 1).inputs.numpy())
    return folder / "support.npz", folder / "inputs.npz"
