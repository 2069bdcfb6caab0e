"""What a run folder says about a run, also when little of it is left."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaccord import checkpoint, fs, jsontree
from metaccord.errors import CheckpointError, DataError, MetaccordError, ResourceError, UsageError
from metaccord.experiment import Experiment
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import read_failure
from metaccord.scores import Scores
from metaccord.serial import VALUES
from metaccord.stored import stored

log = logging.getLogger("metaccord")
SCORES, ANALYSIS = "scores", "analysis.json"


@dataclass(frozen=True, eq=False)
class Facts:
    """A run as its folder tells it.

    Attributes:
        path: The folder.
        settings: The experiment as a JSON tree, as it was stored.
        versions: Of the programs that trained it.
        experiment: The experiment; None if its data are not on this machine.
        records: One dict per meta-step.
        failure: What ended the training, or None.
        step: Meta-step of the newest intact checkpoint; None without one.
        results: What ``metaccord evaluate`` kept, by file name.
        analysis: What ``metaccord analyse`` kept; ``{}`` without it.
        remarks: What is missing, in sentences.
    """

    path: Path
    settings: dict[str, Any]
    versions: dict[str, str]
    experiment: Experiment | None
    records: list[dict[str, Any]]
    failure: dict[str, Any] | None
    step: int | None
    results: dict[str, Any] = field(default_factory=dict)
    analysis: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The method with its interactions: ``maml+agreement``."""
        method = self.settings["method"]
        parts = [VALUES[p["class"]].name for p in method["interactions"]]  # type: ignore[attr-defined]
        return "+".join([str(method["name"]), *parts])

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.settings.get("seed", 0))

    @property
    def steps(self) -> int:
        """Meta-steps that were asked for."""
        return int(self.settings.get("steps", 0))

    @property
    def trained(self) -> int:
        """Meta-steps that were done."""
        return int(self.records[-1]["step"]) if self.records else self.step or 0


def read(path: Path) -> Facts:
    """Return what a run folder says.

    Raises:
        UsageError: if the folder holds no run, or weights alone.
        CheckpointError: if settings or records are damaged.
    """
    folder = RunDirectory.read(path)
    config = folder.config
    tree = config.get("experiment")
    if not isinstance(tree, dict) or not tree.keys() >= {"tasks", "model", "method"}:
        raise UsageError(
            f"{str(path)!r} holds no training, so there is nothing to report: give the folder that "
            "`metaccord train` wrote"
        )
    remarks: list[str] = []
    try:
        experiment = stored(folder)
    except (DataError, ResourceError) as error:
        experiment = None
        remarks.append(f"What needs the tasks is left out: {error}")
    failure = None
    try:
        failure = read_failure(path)
    except CheckpointError as error:
        remarks.append(f"The failure is not shown: {error}")
    return Facts(
        path=path,
        settings=tree,
        versions={str(k): str(v) for k, v in config.get("versions", {}).items()},
        experiment=experiment,
        records=folder.records(),
        failure=failure,
        step=_step(folder, remarks),
        results=_results(path, remarks),
        analysis=_analysis(path, remarks),
        remarks=tuple(remarks),
    )


def _step(folder: RunDirectory, remarks: list[str]) -> int | None:
    if not checkpoint.saved(folder.checkpoints):
        remarks.append("There is no checkpoint: only what the records hold is shown.")
        return None
    try:
        return checkpoint.read(folder.checkpoints).step
    except (CheckpointError, ResourceError) as error:
        remarks.append(f"No checkpoint is intact, only what the records hold is shown: {error}")
        return None


def _results(path: Path, remarks: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        names = fs.names(path / SCORES)
    except (OSError, MetaccordError):
        return found
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            Scores.read(path / SCORES / name)  # its hash holds
            found[name] = jsontree.decode(fs.read(path / SCORES / name))
        except DataError as error:
            remarks.append(f"{SCORES}/{name} is damaged and left out ({error.__cause__}).")
    return found


def _analysis(path: Path, remarks: list[str]) -> dict[str, Any]:
    """Return the content of ``analysis.json``."""
    if not (path / ANALYSIS).exists():
        return {}
    try:
        found = jsontree.unseal(fs.read(path / ANALYSIS, 1 << 26))
        return found if isinstance(found, dict) and found.get("points") else {}
    except (OSError, ValueError) as error:
        remarks.append(f"{ANALYSIS} is damaged and left out ({error}).")
        return {}
