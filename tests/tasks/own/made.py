"""Generated data of a user: sensors that read one thing each in its own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = "sensor,site,temperature,humidity,when,id,reading"


def sensor_rows(sensors: int = 12, rows: int = 20, seed: int = 0) -> list[str]:
    """Return lines: uneven groups, a category, a few missing values, a date and an id."""
    rng = np.random.default_rng(seed)
    lines = []
    for sensor in range(sensors):
        gain, shift = rng.normal(1, 0.5), rng.normal(0, 8)
        for day in range(rows + int(rng.integers(-5, 6))):
            heat, wet = rng.uniform(-10, 30), rng.uniform(20, 90)
            site = ("roof", "cellar", "yard")[int(rng.integers(3))]
            value = 20 + shift + gain * heat + 0.1 * wet + 3 * (site == "roof")
            shown = "" if rng.random() < 0.1 else f"{wet:.3f}"
            lines.append(
                f"s{sensor},{site},{heat:.4f},{shown},2026-01-{1 + day % 28:02d},{len(lines)},"
                f"{value + rng.normal(0, 0.1):.4f}"
            )
    return lines


def sensors(path: Path, **options: int) -> Path:
    """Write a table of sensors."""
    path.write_text("\n".join([HEADER, *sensor_rows(**options)]) + "\n")
    return path


def lines(groups: int = 12, rows: int = 15, seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """Return ``X [n, 3]``, ``y [n]`` and ``groups [n]``: each group is a linear map of its own."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    weights, X = rng.normal(size=(groups, 3)), rng.normal(size=(groups * rows, 3))
    return X, 50 + 10 * (X * weights[group]).sum(1), group


def blobs(classes: int = 15, rows: int = 12, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Return ``X [n, 4]`` and labels ``y [n]``: a cloud of points for each class."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), rows)
    return rng.normal(size=(classes, 4))[y] * 3 + rng.normal(size=(len(y), 4)) * 0.3, y
