"""Settings as ``name=value``: each value is read as what its setting holds."""

from __future__ import annotations

import json
import types
from typing import Any, Union, get_args, get_origin

from metaccord.errors import UsageError
from metaccord.serial import MODELS, VALUES, coerced, fields_of, shown

_WORDS = {"none": None, "None": None, "True": True, "False": False}
_NOT_FINITE = ("nan", "inf", "-inf")


def parse_setting(text: str) -> tuple[list[str], str]:
    """Return the dotted name and the value, still as text, of ``name=value``.

    Raises:
        UsageError: without ``=``.
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--set {shown(text)}: write name=value, for example rule.lr=0.1")
    return name.split("."), value


def put(node: dict[str, Any], name: str, text: str, owner: type | None = None) -> None:
    """Put a value into the tree of the class that it belongs to.

    Args:
        node: The tree; its ``"class"`` says what the setting holds.
        name: Of the setting. An unknown one is refused when the tree is read.
        text: The value.
        owner: The class, where the tree does not say it.
    """
    known = str(node.get("class"))
    cls = owner or VALUES.get(known) or MODELS.get(known)
    node[name] = parsed(text, fields_of(cls).get(name, Any) if cls else Any)


def parsed(text: str, hint: Any = Any) -> Any:
    """Return the value that a text means: text where text is held, else JSON or a bare word.

    A text in JSON's quotation marks loses them.

    Args:
        text: The value as written.
        hint: Type of the setting.

    Example:
        >>> [parsed("true", hint) for hint in (str, bool)], parsed("[1, 02]"), parsed('"a"', str)
        (['true', True], '[1, 02]', 'a')
        >>> parsed("[1, 2.50]", tuple[str, ...]), parsed("none", str | None)
        (['1', '2.50'], None)
    """
    found = _json_or_word(text)
    if isinstance(found, str):
        return found
    several = get_origin(hint) in (Union, types.UnionType)
    kinds = get_args(hint) if several else (hint,)
    if isinstance(found, list) and tuple[str, ...] in kinds:
        return [item if isinstance(item, str) else json.dumps(item) for item in _as_written(text)]
    if str not in kinds:
        return found
    for kind in kinds:
        try:
            return coerced(tuple(found) if isinstance(found, list) else found, kind, "")
        except UsageError:
            continue
    return text


def _json_or_word(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return float(text) if text in _NOT_FINITE else _WORDS.get(text, text)


def _as_written(text: str) -> list[Any]:
    """Return a JSON list with its numbers as text."""
    found: list[Any] = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    return found
