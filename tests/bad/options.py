"""Bad values for every option of every class of the configuration, made from the type hints.

A new option is covered as soon as it exists; one whose values below 0 or whose great numbers have
a meaning must be named here.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from metaccord.experiment import Experiment
from metaccord.serial import MODELS, VALUES, fields_of

HUGE = 10**30
ANY: tuple[Any, ...] = ({}, [[[]]], {"a": 1}, "no such word " * 50)
BAD: dict[Any, tuple[Any, ...]] = {
    int: ("abc", "", 1.5, math.nan, True, None, [1], -1, -HUGE, HUGE, *ANY),
    float: ("abc", "", True, None, [0.1], math.nan, math.inf, -math.inf, -1, 1e39, 10**400, *ANY),
    bool: ("maybe", 1, 0.0, None, math.nan, [True], *ANY),
    str: (3, 0.5, True, math.nan, None, ["x"], {}, [[[]]]),
    tuple: ("word", 3, True, None, math.nan, [{}], [None], {}),
    Literal: ("xyzzy", "", 3, None, True, math.nan, ["x"], *ANY),
    types.NoneType: (),
}


class Option(NamedTuple):
    """One option with one bad value.

    Attributes:
        kind: The class.
        name: The option.
        value: What it must not be.
    """

    kind: str
    name: str
    value: Any

    @property
    def id(self) -> str:
        """Return ``SGD.lr=-1``."""
        return f"{self.kind}.{self.name}={self.value!r:.20}"


def options() -> Iterator[Option]:
    """Walk over all classes, options and bad values."""
    for kind, cls in {"Experiment": Experiment, **VALUES, **MODELS}.items():
        for name, hint in fields_of(cls).items():
            for value in bad_for(hint):
                yield Option(kind, name, value)


def bad_for(hint: Any) -> list[Any]:
    """Return values that are bad for a type: for a union those that are bad for each part."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    lists = [BAD.get(get_origin(part) or part, (3, None, "x", [1], {}, math.nan)) for part in parts]
    parts_without = [values for values in lists if values]
    if types.NoneType in parts:
        parts_without = [[v for v in values if v is not None] for values in parts_without]
    first, *others = parts_without
    return [v for v in first if all(any(_alike(v, w) for w in values) for values in others)]


def _alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def valid(kind: str) -> dict[str, Any]:
    """Return the values that a class cannot do without."""
    needed = {
        "steps": 1,
        "lr": 0.1,
        "classes": 5,
        "features": 3,
        "graph": "g.npz",
        "root": "nowhere",
    }
    cls = {**VALUES, **MODELS, "Experiment": Experiment}[kind]
    known = fields_of(cls)
    return {"class": kind, **{k: v for k, v in needed.items() if k in known}}
