"""JSON without losses: what is read back equals what was written.

Plain JSON has no nan and no infinity, and Python's ``json`` turns the key 1 into ``"1"`` in
silence. Here a non-finite float is written as ``{"$float": "nan"}`` (``"inf"``, ``"-inf"``), which
is valid JSON that no string can be mistaken for, and everything else that JSON cannot hold is
refused. Tuples come back as lists. A *sealed* document carries the SHA-256 of its own content.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from metaccord.errors import UsageError

_FLOAT = "$float"
_NON_FINITE = frozenset({"nan", "inf", "-inf"})


def encode(tree: Any, what: str = "value") -> str:
    """Return one line of JSON.

    Args:
        tree: Dicts with string keys, lists, tuples, strings, numbers, booleans, None.
        what: Name of the tree in messages.

    Raises:
        UsageError: if something in the tree has no place in JSON.
    """
    return json.dumps(_tagged(tree, what), allow_nan=False)


def decode(text: str | bytes) -> Any:
    """Return the tree of :func:`encode`.

    Raises:
        ValueError: if the text is damaged.
    """
    try:
        return json.loads(text, object_hook=_untagged, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def digest(tree: Any, what: str = "value") -> str:
    """Return the SHA-256 of the tree's content, as :func:`seal` writes it.

    Raises:
        UsageError: if something in the tree has no place in JSON.
    """
    return hashlib.sha256(encode(tree, what).encode()).hexdigest()


def seal(tree: Any, what: str = "value") -> bytes:
    """Return a readable JSON document of the tree and the SHA-256 of its content.

    Raises:
        UsageError: if something in the tree has no place in JSON.
    """
    sealed = {"content": _tagged(tree, what), "sha256": digest(tree, what)}
    return (json.dumps(sealed, indent=1) + "\n").encode()


def unseal(document: bytes) -> Any:
    """Return the tree of :func:`seal`.

    Raises:
        ValueError: if a single byte of the document differs from what was written.
    """
    found = decode(document)
    if not isinstance(found, dict) or set(found) != {"content", "sha256"}:
        raise ValueError("not a sealed document")
    if seal(found["content"]) != document:
        raise ValueError("its content does not match its sha256")
    return found["content"]


def _tagged(tree: Any, what: str) -> Any:
    if tree is None or isinstance(tree, bool | int | str):
        return tree
    if isinstance(tree, float):
        return float(tree) if math.isfinite(tree) else {_FLOAT: str(float(tree))}
    if isinstance(tree, list | tuple):
        return [_tagged(item, f"{what}[{index}]") for index, item in enumerate(tree)]
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise UsageError(f"{what} is a {kind}, which JSON cannot hold: use numbers, text or lists")
    for key in tree:
        if not isinstance(key, str):
            raise UsageError(f"{what} has the key {key!r}, but keys must be text: use str(key)")
    if set(tree) == {_FLOAT}:
        raise UsageError(f"{what} has the reserved key {_FLOAT!r} only: choose another name")
    return {key: _tagged(item, f"{what}.{key}") for key, item in tree.items()}


def _untagged(found: dict[str, Any]) -> Any:
    if set(found) != {_FLOAT}:
        return found
    word = found[_FLOAT]
    if not isinstance(word, str) or word not in _NON_FINITE:
        raise ValueError(f"{word!r} is no non-finite float")
    return float(word)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
