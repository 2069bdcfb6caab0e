"""Trackers by name, each in the folder of its run."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metaccord.errors import UsageError, unknown
from metaccord.records import Record
from metaccord.trackers.base import Tracker

log = logging.getLogger("metaccord")
NAMES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
FOLDER = "trackers"


def checked(words: str | None) -> list[str]:
    """Return the trackers in ``--track``, none without it.

    Raises:
        UsageError: for an unknown name, or one whose extra is not installed.
    """
    names = [] if words is None else words.split(",")
    for name in names:
        if name not in NAMES:
            raise unknown("tracker", name, NAMES)
        if importlib.util.find_spec(NAMES[name]) is None:
            raise UsageError(
                f"--track {name} needs an extra that is not installed: pip install "
                f"'metaccord[{name}]'"
            )
    return list(dict.fromkeys(names))


def opened(names: Sequence[str], run: Path, settings: dict[str, Any]) -> list[Tracker]:
    """Return trackers that write below ``RUN/trackers/`` and go on with what is there.

    One that cannot be opened is told of and left out.

    Args:
        names: Of :data:`NAMES`.
        run: Folder of the run.
        settings: What was trained, a JSON tree; kept with the tracker's run.
    """
    found: list[Tracker] = []
    for name in names:
        try:
            found.append(_opened(name, run / FOLDER / name, settings))
        except Exception as error:  # whatever a foreign program raises
            shown = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            log.warning("%s gets no records (%s); the training goes on", name, shown)
    return found


def followed(
    records: Iterable[Record], names: Sequence[str], run: Path, settings: dict[str, Any]
) -> Iterator[Record]:
    """Yield the records of a training after its trackers have seen them.

    The trackers are opened at the first record, when the folder of the run is there.

    Args:
        records: Of a training.
        names, run, settings: As for :func:`opened`.
    """
    trackers: list[Tracker] | None = None
    try:
        for record in records:
            if trackers is None:
                trackers = opened(names, run, settings)
            for tracker in trackers:
                tracker.log(record)
            yield record
    finally:
        for tracker in trackers or ():
            tracker.close()


def _opened(name: str, folder: Path, settings: dict[str, Any]) -> Tracker:
    if name == "tensorboard":
        from metaccord.trackers.tensorboard import TensorBoard

        return TensorBoard(folder)
    if name == "wandb":
        from metaccord.trackers.wandb import WandB

        return WandB(folder, settings)
    from metaccord.trackers.mlflow import MLflow

    return MLflow(folder, settings)


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of a JSON tree as text by dotted name."""
    if isinstance(tree, dict) and tree:
        return {
            k: v
            for key, item in tree.items()
            for k, v in flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        return {
            k: v for i, item in enumerate(tree) for k, v in flat(item, f"{prefix}[{i}]").items()
        }
    return {prefix: str(tree)}
