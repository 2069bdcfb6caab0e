"""Names for people: of task families, of classes, of single tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from metaccord import tree
from metaccord.tasks import Nodes, Omniglot, Quadratics, SignDigits, Sinusoid, TaskSource
from metaccord.types import Episode

LONGEST = 60  # letters of a name
FAMILIES = {
    "Sinusoid": "sine waves",
    "Quadratics": "quadratic bowls",
    "Omniglot": "Omniglot characters",
    "SignDigits": "hand signs",
    "Nodes": "nodes of a graph",
    "Table": "groups of a table",
    "ArrayFile": "arrays",
    "Folders": "pictures in folders",
}


def family(settings: dict[str, Any]) -> str:
    """Return what the tasks are, in words.

    Args:
        settings: The tasks as a JSON tree.
    """
    kind = str(settings.get("class", "tasks"))
    known = FAMILIES.get(kind, kind)
    place = settings.get("graph") if kind == "Nodes" else settings.get("path")
    return f"{known} ({_short(str(place).rstrip('/').rpartition('/')[2])})" if place else known


def class_names(source: TaskSource, split: str) -> dict[int, str]:
    """Return the names of classes or groups by their number in ``episodes.extra``.

    Args:
        source: The tasks.
        split: Of the episodes.
    """
    if isinstance(source, Omniglot):
        return _characters(source, split)
    if isinstance(source, SignDigits):
        return {digit: f"sign {digit}" for digit in range(10)}
    if isinstance(source, Nodes):
        from metaccord.tasks.neighbourhoods import loaded

        found = loaded(source.graph, source.place).class_names
    else:
        found = source.names(split)
    return {i: _short(str(name)) for i, name in enumerate(found)}


def task_names(source: TaskSource, split: str, episodes: Episode) -> list[str]:
    """Return one name per task: its classes, its group, its sine wave, or its number."""
    count = tree.tasks_in(episodes.query)
    names, extra = class_names(source, split), episodes.extra
    if isinstance(source, Sinusoid):
        return _waves(episodes)
    if isinstance(source, Quadratics):
        return [f"bowl {i}" for i in range(count)]
    if "group" in extra:
        return [names.get(int(g), f"group {int(g)}") for g in extra["group"].tolist()]
    if "classes" in extra:
        return [" · ".join(found) for found in classes_of(names, episodes)]
    return [f"task {i}" for i in range(count)]


def classes_of(names: dict[int, str], episodes: Episode) -> list[list[str]]:
    """Return the names of each task's classes by label; ``class 0``, ... where none are known."""
    if "classes" not in episodes.extra:
        return []
    rows = episodes.extra["classes"].tolist()
    ways = episodes.query.ways
    counts = ways.tolist() if isinstance(ways, Tensor) else [len(row) for row in rows]
    return [
        [names.get(int(c), f"class {int(c)}") for c in row[:count] if c >= 0]
        for row, count in zip(rows, counts, strict=True)
    ]


def _characters(source: Omniglot, split: str) -> dict[int, str]:
    from metaccord.tasks.omniglot import _data

    data, found = _data(source.place), {}
    for character, turn in source.classes(split).tolist():
        alphabet = data.alphabet_names[int(data.alphabet[character])].replace("_", " ")
        for quarter in range(4) if source.rotations == "draw" else (turn,):
            turned = f" ({90 * quarter}°)" if quarter else ""
            number = int(data.character[character])
            found[4 * character + quarter] = f"{_short(alphabet)} {number}{turned}"
    return found


def _waves(episodes: Episode) -> list[str]:
    """Return amplitude and phase of each sine, exact from its query points."""
    found = []
    for x, y in zip(episodes.query.inputs[..., 0], episodes.query.targets[..., 0], strict=True):
        at, height = x.double().cpu().numpy(), y.double().cpu().numpy()
        basis, *_ = np.linalg.lstsq(np.stack([np.sin(at), np.cos(at)], 1), height, rcond=None)
        size, phase = float(np.hypot(*basis)), float(np.arctan2(basis[1], basis[0])) % (2 * np.pi)
        found.append(f"{size:.1f} sin(x + {phase:.1f})")
    return found


def _short(name: str) -> str:
    """Return a name on one line that is not too long."""
    flat = " ".join(name.split()) or "(no name)"
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"
