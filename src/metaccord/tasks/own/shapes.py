"""Which model learns inputs of a shape, and with which step sizes."""

from __future__ import annotations

import math
from typing import Any

from metaccord.tasks.source import Advice

_LEAST, _MOST = 8, 128  # pixels of a side that a small convolutional network takes


def advice(shape: tuple[int, ...], outputs: int, classifies: bool, base: str) -> Advice:
    """Return the model and step sizes for inputs of a shape.

    Pictures ``(channels, side, side)`` with 1 to 4 channels get Conv4, the rest an MLP.

    Args:
        shape: Of one example.
        outputs: Numbers to predict, or classes.
        classifies: Whether they are classes.
        base: The base method.
    """
    convolves = (
        classifies
        and len(shape) == 3
        and shape[0] <= 4
        and shape[1] == shape[2]
        and _LEAST <= shape[1] <= _MOST
    )
    if convolves:
        model = {"class": "Conv4", "ways": outputs, "channels": shape[0], "size": shape[1]}
        return Advice(model, _pictures(base), 3000, 16)
    model = {
        "class": "MLP", "inputs": math.prod(shape), "hidden": [64, 64], "outputs": outputs,
        "activation": "tanh",
    }  # fmt: skip
    return Advice(model, _vectors(base, classifies), 1000, 16)


def _pictures(base: str) -> dict[str, Any]:
    special: dict[str, dict[str, Any]] = {
        "reptile": {"steps": 5, "lr": 1e-3, "batch": 10, "inner": "adam"},
        "maml_pp": {"steps": 3, "lr": 0.1, "horizon": 1500},
        "imaml": {"steps": 8, "lr": 0.1},
        "finetune": {"steps": 5, "lr": 0.1},
    }
    return special.get(base, {"steps": 1, "lr": 0.4})


def _vectors(base: str, classifies: bool) -> dict[str, Any]:
    lr = 0.2 if classifies else 0.05
    special: dict[str, dict[str, Any]] = {
        "reptile": {"steps": 5, "lr": lr / 2 if classifies else lr, "batch": None},
        "imaml": {"steps": 8, "lr": lr},
        "maml_pp": {"steps": 3, "lr": lr, "horizon": 500},
    }
    return special.get(base, {"steps": 3, "lr": lr})
