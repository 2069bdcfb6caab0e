"""Bad values for every option of every class of the configuration, made from the type hints.

A new option is covered as soon as it exists; one whose values below 0 or whose great numbers have
a meaning must be named here.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from PIL import Image

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
                if value != -1 or (kind, name) not in SIGNED:
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


NEEDED: dict[str, Any] = {
    "steps": 1,
    "lr": 0.1,
    "classes": 5,
    "features": 3,
    "graph": "g.npz",
    "root": "nowhere",
}
OWN: dict[str, dict[str, Any]] = {
    "ArrayCoding": {"shape": [2]},
    "Column": {"name": "x"},
    "TableCoding": {"columns": [{"class": "Column", "name": "x"}], "target": "y", "group": "g"},
    "Table": {"path": "table.csv", "target": "y", "group": "g"},
}
SIGNED = {("Column", "centre"), ("TableCoding", "target_centre")}


def furnish(place: Path) -> None:
    """Make the table and the pictures that some classes look at as soon as they are built."""
    rows = [f"{g},{row + g},{row * g}" for g in range(9) for row in range(24)]
    OWN["Folders"] = {"path": str(place / "pictures")}
    OWN["Table"]["path"] = str(place / "table.csv")
    (place / "table.csv").write_text("\n".join(["g,x,y", *rows]) + "\n")
    for name in "abcdefghi":
        (place / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            grey = Image.new("L", (9, 9), 8 * number)
            grey.putpixel((ord(name) - 97, number % 9), 255)
            grey.save(place / "pictures" / name / f"{number}.png")


def valid(kind: str) -> dict[str, Any]:
    """Return the values that a class cannot do without."""
    cls = {**VALUES, **MODELS, "Experiment": Experiment}[kind]
    known = fields_of(cls)
    needed = {
        k: v for k, v in NEEDED.items() if k in known and known[k] in (type(v), type(v) | None)
    }
    return {"class": kind, **needed, **OWN.get(kind, {})}
