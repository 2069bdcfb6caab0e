"""Values as JSON trees of names and fields, through a closed list of classes; nothing is evaluated.

A value of a known class becomes ``{"class": name, field: value, ...}``. Settings from the command
line are checked against the type hints of the fields before anything is constructed.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from metaccord.codings import ArrayCoding, Column, PictureCoding, TableCoding
from metaccord.engine import Plan
from metaccord.errors import UsageError, nearest, unknown
from metaccord.estimators import MAML, Implicit, MGAug, MultiStep, Pretrain, Reptile, Warp
from metaccord.interactions import (
    Aggregate,
    Coherence,
    CoLearner,
    GradientAgreement,
    GradientSharing,
    PCGrad,
)
from metaccord.method import Method
from metaccord.models import GCN, MLP, SGC, Conv4, Geometric, GraphSAGE
from metaccord.outer import Outer
from metaccord.protocol import Protocol
from metaccord.rules import SGD, Adam, MetaSGD, Momentum, PerStep, Proximal
from metaccord.tasks import STORED, Point

_RULES = (SGD, Momentum, Adam, MetaSGD, PerStep, Proximal)
_ESTIMATORS = (MAML, MultiStep, Implicit, Pretrain, Reptile, Warp, MGAug)
_INTERACTIONS = (GradientAgreement, GradientSharing, CoLearner, Coherence, PCGrad, Aggregate)
_MODULES = (MLP, Conv4, Point, SGC, GCN, GraphSAGE, Geometric)
_CODINGS = (ArrayCoding, Column, PictureCoding, TableCoding)
_VALUES: tuple[type, ...] = (
    Method, *_RULES, *_ESTIMATORS, *_INTERACTIONS, *STORED, *_CODINGS, Outer, Plan, Protocol,
)  # fmt: skip
VALUES: dict[str, type] = {cls.__name__: cls for cls in _VALUES}
MODELS: dict[str, type] = {cls.__name__: cls for cls in _MODULES}
_LARGEST = 1e30  # float32 ends at 3e38, and optimisers divide step sizes by small numbers
_WIDEST = 1 << 24
_LONGEST = 100  # letters of a value in a message


@cache
def fields_of(cls: type) -> Mapping[str, Any]:
    """Return the settable fields of a value or the options of a model, with their types.

    Fields with the metadata ``{"stored": False}``, such as data in memory, are left out.
    """
    if dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
        return {
            f.name: hints[f.name]
            for f in dataclasses.fields(cls)
            if f.init and f.metadata.get("stored", True)
        }
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    return {name: hint for name, hint in hints.items() if name != "return"}


def to_tree(value: Any) -> Any:
    """Return a JSON tree.

    Raises:
        UsageError: for a value of a class that is not in the list.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if VALUES.get(name) is not type(value):
            raise UsageError(f"{name} cannot be stored by name: give it again at load")
        return {
            "class": name,
            **{key: to_tree(getattr(value, key)) for key in fields_of(type(value))},
        }
    if isinstance(value, tuple | list):
        return [to_tree(item) for item in value]
    if isinstance(value, dict):
        return {key: to_tree(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"{shown(value)} cannot be stored by name: give it again at load")


def from_tree(tree: Any, name: str = "") -> Any:
    """Return the value that a tree describes.

    Args:
        tree: As made by :func:`to_tree`.
        name: Dotted place in the whole, for messages.

    Raises:
        UsageError: for an unknown class, field or a value of the wrong type.
    """
    if not isinstance(tree, dict) or "class" not in tree:
        return tuple(from_tree(item, name) for item in tree) if isinstance(tree, list) else tree
    known = str(tree["class"])
    if known not in VALUES:
        raise unknown(f"class in {name or 'the configuration'}", known, VALUES)
    return _construct(VALUES[known], tree, name)


def carried(before: Any, after: Any) -> Any:
    """Return ``after`` with the unstored fields of ``before``, if both are of one class."""
    if type(before) is not type(after):
        return after
    cls: type = type(before)
    kept = {f.name for f in dataclasses.fields(cls) if f.init} - {*fields_of(cls)}
    return dataclasses.replace(after, **{name: getattr(before, name) for name in kept})


def build_model(tree: Any) -> Any:
    """Return the module that a tree describes.

    Raises:
        UsageError: for an unknown class or option, or a size out of range.
    """
    if not isinstance(tree, dict) or "class" not in tree:
        raise UsageError(f'model is {shown(tree)}: write for example {{"class": "MLP"}}')
    name = str(tree["class"])
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    for key, value in tree.items():
        sizes = value if isinstance(value, list | tuple) else [value]
        if any(type(size) is int and not 1 <= size <= _WIDEST for size in sizes):
            found = f"model.{key} is {shown(value)}"
            raise UsageError(f"{found}: sizes must be at least 1 and at most {_WIDEST}")
    try:
        return _construct(MODELS[name], tree, "model")
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise UsageError("model has more weights than can be counted: lower its sizes") from error


def _construct(cls: Callable[..., Any], tree: dict[str, Any], name: str) -> Any:
    known = fields_of(typing.cast(type, cls))
    arguments = {}
    for key, item in tree.items():
        if key == "class":
            continue
        place = f"{name}.{key}" if name else key
        if key not in known:
            raise UsageError(f"unknown setting {place!r}: {nearest(key, known)}")
        arguments[key] = coerced(from_tree(item, place), known[key], place)
    try:
        return cls(**arguments)
    except TypeError as error:  # an argument without default is missing
        raise UsageError(f"{name or tree['class']} is incomplete: {error}") from error


def coerced(value: Any, hint: Any, place: str) -> Any:
    """Return the value as the type that the hint asks for.

    Raises:
        UsageError: naming the place, what was found and what is expected.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for one in inner:
            try:
                return coerced(value, one, place)
            except UsageError:
                continue
    elif origin is Literal:
        if value in inner:
            return value
        if isinstance(value, str):
            raise unknown(place, value, [str(word) for word in inner])
    elif origin is tuple and isinstance(value, tuple | list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(coerced(v, k, place) for v, k in zip(value, kinds, strict=True))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= _LARGEST:  # a nan compares false
            raise UsageError(f"{place} is {shown(value)}: it must be finite, at most 1e30 in size")
        return float(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise UsageError(f"{place} is {shown(value)}: it must fit into 64 bits, below 2**63")
        return value
    elif hint is types.NoneType and value is None:
        return None
    elif isinstance(hint, type) and hint not in (int, float) and isinstance(value, hint):
        return value
    raise UsageError(f"{place} is {shown(value)}: expected {_readable(hint)}")


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return repr(text) if isinstance(value, str) else text


def _readable(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    if hint in names:
        return names[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(_readable(one) for one in inner)
    if origin is tuple:
        if inner[-1] is not Ellipsis:
            return f"a list of {len(inner)}"
        shown = {int: "a list such as [64, 64]", str: 'a list such as ["head"]'}
        return shown.get(inner[0], "a list")
    return "none" if hint is types.NoneType else getattr(hint, "__name__", str(hint))
