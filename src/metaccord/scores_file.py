"""The file of an evaluation: JSON that people can read, with every task, and a hash over it.

The numbers of single tasks stand in ``per_task``: one list for each task, in the shortest
decimals that give back the same bits. Files of older versions have none and are read, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaccord import fs, jsontree
from metaccord.calibration import Calibration
from metaccord.episode_set import EpisodeSet
from metaccord.errors import DataError, UsageError
from metaccord.protocol import Protocol

_LARGEST = 1 << 30  # bytes of a file
_TYPES = {"float32": torch.float32, "float64": torch.float64}
_SHAPES: dict[str, list[int]] = {"losses": [], "accuracies": [], "errors": [3]}
"""Sizes behind tasks and points."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        protocol, at, episodes, calibrations: As in :class:`metaccord.Scores`.
        tables: ``losses``, ``accuracies`` and ``errors``, as far as they are there.
        summary: All entries of a file without single tasks, else None.
    """

    protocol: Protocol
    at: tuple[int, ...]
    episodes: EpisodeSet | None
    calibrations: tuple[Calibration, ...]
    tables: dict[str, Tensor]
    summary: dict[str, Any] | None


def write(
    path: Path,
    summary: dict[str, Any],
    tables: dict[str, Tensor | None],
    calibrations: list[dict[str, Any]],
) -> None:
    """Write one file.

    Args:
        path: The file.
        summary: What people look at.
        tables: Numbers ``[tasks, ...]`` by name; None is left out.
        calibrations: One for each number of steps.
    """
    kept = {name: table for name, table in tables.items() if table is not None}
    types = {name: str(table.dtype).removeprefix("torch.") for name, table in kept.items()}
    content = {
        **summary,
        "per_task": {name: _decimals(table) for name, table in kept.items()},
        "types": types,
        "calibrations": calibrations,
    }
    sealed = {**content, "sha256": jsontree.digest(content, "scores")}
    text = jsontree.encode(sealed, "scores")  # what is not finite is tagged
    fs.make(path.parent)
    fs.write_atomic(path, json.dumps(json.loads(text), indent=1).encode())


def read(path: Path) -> Content:
    """Return the content of a file.

    Raises:
        DataError: if it is no file of scores, or if it is damaged.
    """
    try:
        found = _parsed(path)
        at = tuple(int(step) for step in found["at"])
        protocol = Protocol(**found["protocol"])
        episodes = found.get("episodes")
        known = None if episodes is None else EpisodeSet.from_json(episodes)
        if "per_task" not in found:
            return Content(protocol, at, known, (), _empty(found, len(at)), found)
        tables = {k: _table(v, found["types"][k]) for k, v in found["per_task"].items()}
        shapes = {k: list(v.shape) for k, v in tables.items()}
        expected = {name: [protocol.tasks, len(at), *rest] for name, rest in _SHAPES.items()}
        if "losses" not in tables or any(shapes[k] != expected.get(k) for k in tables):
            raise ValueError(f"shapes {shapes} for {protocol.tasks} tasks at {len(at)} points")
        curves = tuple(map(Calibration.from_json, found["calibrations"]))
        return Content(protocol, at, known, curves, tables, None)
    except UsageError as error:
        raise DataError(f"{str(path)!r} holds a protocol that is refused: {error}") from error
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}): name a file") from error
    except (AttributeError, OverflowError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{str(path)!r} holds no scores or is damaged ({_why(error)}): name a file that "
            "metaccord evaluate wrote to RUN/scores, or evaluate again"
        ) from error


def _empty(found: dict[str, Any], points: int) -> dict[str, Tensor]:
    """Return tables without tasks, after a look whether the intervals are all there."""
    names = {"loss": "losses", "accuracy": "accuracies"}
    tables: dict[str, Tensor] = {}
    for name, table in names.items():
        if name == "loss" or name in found:
            if {*found[name]} != {"mean", "half"} or len(found[table]) != points:
                raise ValueError(f"no interval for {name}")
            tables[table] = torch.empty(0, points)
    return tables


def _parsed(path: Path) -> dict[str, Any]:
    content = fs.read(path, _LARGEST)
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    if "per_task" not in found:
        return found
    found = jsontree.decode(content)
    digest = found.pop("sha256")
    if jsontree.digest(found) != digest:
        raise ValueError("its content does not match its sha256")
    return dict(found)


def _decimals(table: Tensor) -> Any:
    """Return nested lists of the shortest decimals of a table."""
    array = table.detach().cpu().numpy()
    return array.astype(str).astype(np.float64).tolist() if array.size else array.tolist()


def _table(rows: Any, kind: str) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).to(_TYPES[kind])


def _why(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
