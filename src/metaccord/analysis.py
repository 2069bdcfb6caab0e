"""A run measured along its checkpoints; what is finished is kept in the run's folder.

``RUN/analysis.json`` holds one protocol and the measurements under it, sealed by their SHA-256.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metaccord import __version__, checkpoint, fs, jsontree
from metaccord.checkpoint_files import MANIFEST, folder_name
from metaccord.correlation import Correlation, pearson, spearman
from metaccord.diagnostics import TrajectoryScores, measure
from metaccord.errors import CheckpointError, ResourceError
from metaccord.method import initialise
from metaccord.protocol import Protocol
from metaccord.rundir import RunDirectory
from metaccord.statistics import Interval
from metaccord.stored import load_state, stored
from metaccord.types import MetaState

log = logging.getLogger("metaccord")
FILE = "analysis.json"
QUANTITIES = {
    "spectral_norm": "spectral norm of the Hessian",
    "support_loss": "support loss",
    "distance": "distance",
    "trajectory_coherence": "coherence of trajectories (cosine)",
    "gradient_coherence": "coherence of gradients (inner product)",
    "gradient_cosine": "coherence of gradients (cosine)",
}
Points = Mapping[int, TrajectoryScores]


class Analysis:
    """The measurements of one run under one protocol.

    Args:
        path: Folder of the run.
        protocol: How to measure.
        curvature_tasks: Number of tasks whose curvature is measured.

    Attributes:
        path: Folder of the run.
        experiment: What the run is made of, on the CPU if this machine has no CUDA.
        protocol: With the number of inner steps filled in.
        points: What was measured, by meta-step, ascending; 0 is the untrained state. Those of
            checkpoints that were rotated away since are kept.

    Raises:
        UsageError: if the folder holds no run.
        CheckpointError: if the run is damaged or has no checkpoint.
    """

    def __init__(self, path: Path, protocol: Protocol, curvature_tasks: int) -> None:
        folder = RunDirectory.read(path)
        experiment = stored(folder)
        if not torch.cuda.is_available():
            experiment = replace(experiment, device="cpu")
        if not checkpoint.saved(folder.checkpoints):
            raise CheckpointError(
                f"there is no checkpoint in {str(folder.checkpoints)!r}: train the run first, for "
                "points along its training with --set keep_every=N"
            )
        self.path, self.experiment, self._folder = path, experiment, folder.checkpoints
        steps = experiment.method.rule.steps if protocol.steps is None else protocol.steps
        self.protocol, self._curved = replace(protocol, steps=steps), curvature_tasks
        self._kept = self._read()

    @property
    def points(self) -> dict[int, TrajectoryScores]:
        """What was measured, by meta-step, ascending."""
        return {step: _scores(self._kept[step]["scores"]) for step in sorted(self._kept)}

    def missing(self) -> list[int]:
        """Return the meta-steps that have a checkpoint (and 0) but no measurement, ascending."""
        steps = [0, *(step for step in checkpoint.saved(self._folder) if step)]
        return [step for step in steps if step not in self._kept]

    def measure(self, step: int) -> bool:
        """Measure one state and keep the result; False and a warning if it is damaged.

        Args:
            step: Of a checkpoint; 0: the untrained state.

        Raises:
            UsageError: for more curvature tasks than tasks, and the like.
            ResourceError: if the result cannot be written.
        """
        digest = self._digest(step)
        try:
            state = self.state(step)
        except CheckpointError as error:
            log.warning("%s; left out", error)
            return False
        made = self.experiment
        scores = measure(
            made.method,
            made.objective(),
            state,
            made.tasks,
            self.protocol,
            curvature_tasks=self._curved,
        )
        self._kept[step] = {"checkpoint": digest, "scores": scores.json()}
        content = {
            "how": self._how(),
            "points": {str(step): self._kept[step] for step in sorted(self._kept)},
        }
        fs.write_atomic(self.path / FILE, jsontree.seal(content))
        return True

    def state(self, step: int) -> MetaState:
        """Return the state of a checkpoint, or for 0 the untrained one.

        Raises:
            CheckpointError: if the checkpoint is missing or damaged.
        """
        if step:
            return load_state(self.path, step)[1]
        made = self.experiment
        return initialise(made.method, made.objective(), seed=made.seed)

    def last(self) -> int:
        """Return the newest meta-step that was measured and still has its checkpoint.

        Raises:
            CheckpointError: if no checkpoint was intact.
        """
        both = self._kept.keys() & set(checkpoint.saved(self._folder))
        if not both:
            raise CheckpointError(
                f"there is no intact checkpoint in {str(self._folder)!r}: restore a backup or "
                "train again in another --out"
            )
        return max(both)

    def _how(self) -> dict[str, Any]:
        return {
            "protocol": vars(self.protocol),
            "curvature_tasks": self._curved,
            "metaccord": __version__,
        }

    def _read(self) -> dict[int, dict[str, Any]]:
        """Return the measurements under this protocol that still describe their checkpoints."""
        path = self.path / FILE
        if not path.exists():
            return {}
        try:
            found = jsontree.unseal(fs.read(path))
            if found["how"] != self._how():
                return {}
            kept = {int(step): entry for step, entry in found["points"].items()}
            for entry in kept.values():
                _scores(entry["scores"])
            return {k: v for k, v in kept.items() if self._digest(k) in ("", v["checkpoint"])}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): everything is measured anew", path, error)
            return {}

    def _digest(self, step: int) -> str:
        """Return a hash of what a checkpoint holds; empty without one."""
        with suppress(ResourceError, OSError):
            content = fs.read(self._folder / folder_name(step) / MANIFEST)
            return hashlib.sha256(content).hexdigest()
        return ""


def _scores(found: dict[str, Any]) -> TrajectoryScores:
    """Undo :meth:`metaccord.diagnostics.TrajectoryScores.json`."""
    protocol = Protocol(**found["protocol"])
    parts = {k: v for k, v in found.items() if k != "protocol"}
    rest: dict[str, Any] = {
        k: Interval(**v) if isinstance(v, dict) else v for k, v in parts.items()
    }
    return TrajectoryScores(protocol=protocol, **rest)


def column(points: Points, name: str) -> list[Interval]:
    """Return one quantity along the checkpoints; NaN where it was not measured.

    Args:
        points: Of one run.
        name: A field of the scores.
    """
    found = (getattr(scores, name) for scores in points.values())
    return [Interval(math.nan, math.nan) if one is None else one for one in found]


def classifies(runs: Mapping[str, Points]) -> bool:
    """Say whether generalisation is told by accuracy; otherwise it is the negative target loss."""
    return all(s.target_accuracy is not None for points in runs.values() for s in points.values())


class Row(NamedTuple):
    """How one quantity goes with generalisation along the checkpoints of a run.

    Attributes:
        pearson, spearman: With 95 % intervals that take the checkpoints as independent, which
            those of one run are not: they are too narrow.
    """

    pearson: Correlation
    spearman: Correlation


def correlations(points: Points) -> dict[str, Row]:
    """Return the correlations of each quantity with target accuracy, or negative target loss.

    Args:
        points: Of one run, the untrained state included.
    """
    name, sign = ("target_accuracy", 1) if classifies({"": points}) else ("target_loss", -1)
    target = [sign * interval.mean for interval in column(points, name)]
    values = {k: [interval.mean for interval in column(points, k)] for k in QUANTITIES}
    return {k: Row(pearson(x, target), spearman(x, target)) for k, x in values.items()}
