"""Small changes of good inputs: of bytes, and of JSON trees, drawn from a seeded generator."""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_WORDS = (
    "",
    "x",
    "nan",
    "../../x",
    "\0",
    "a\nb",
    "\ud800",
    "é",
    "__class__",
    "class",
    "{}",
    "9" * 99,
)


def _nested(depth: int) -> Any:
    tree: Any = 1
    for level in range(depth):
        tree = [tree] if level % 2 else {"class": tree}
    return tree


NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5,
    1e-30, 1e300, -1e300, math.nan, math.inf, -math.inf, *_WORDS, [], {}, [[]], [None], [0, -1],
    ["head"], {"$float": "nan"}, {"$float": []}, {"$float": "x"}, {"class": "MLP"}, {"class": []},
    {"class": "SGD", "steps": 1, "lr": 0.1}, {"class": "Method"}, {"step": 1}, "x" * 5000,
    _nested(40), [0] * 300,
)  # fmt: skip


def changed_bytes(draw: Random, good: bytes) -> bytes:
    """Return ``good`` after one to four changes: flips, numbers, cuts, copies, other lengths."""
    data = bytearray(good)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = draw.randrange(256)
        elif kind == 2:
            number, size = draw.choice(_NUMBERS), draw.choice((1, 2, 4, 8))
            order = draw.choice(("little", "big"))
            data[at : at + size] = (number % 256**size).to_bytes(size, order)
        elif kind == 3:
            del data[at : at + draw.choice((1, 2, 8, 64, len(data)))]
        elif kind == 4:
            data[at:at] = draw.randbytes(draw.choice((1, 2, 8, 64)))
        elif kind == 5:
            start = draw.randrange(len(data) + 1)
            data[at:at] = data[start : start + draw.choice((1, 8, 64, 512))]
        elif kind == 6:
            start, size = draw.randrange(len(data) + 1), draw.choice((1, 4, 16, 64))
            data[at : at + size] = data[start : start + size]
        else:
            data[at:at] = draw.choice((b"0", b"-", b"[", b"{", b'"', b"\0", b"1e999", b"\\u0000"))
    return bytes(data)


def changed_tree(draw: Random, good: Any) -> Any:
    """Return a copy of a JSON tree after one to three changes of values, keys or lengths."""
    tree = copy.deepcopy(good)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places or draw.random() < 0.02:
            return copy.deepcopy(draw.choice(NASTY))
        parent, key = draw.choice(places)
        kind = draw.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[draw.choice((*_WORDS, *parent, "steps", "lr", "step"))] = parent.pop(key)
        elif kind == 2:
            other, place = draw.choice(places)
            if place in other if isinstance(other, dict) else place < len(other):
                parent[key] = copy.deepcopy(other[place])
        elif kind == 3 and isinstance(parent, list):
            parent.extend(copy.deepcopy(parent) * draw.choice((1, 3)))
        elif kind == 4 and isinstance(parent[key], int | float):
            factor = draw.choice((-1, 0, 2, 0.5))
            huge = isinstance(parent[key], int) and abs(parent[key]) > 2**1000  # no float
            parent[key] *= int(2 * factor) if huge else factor
        else:
            parent[key] = copy.deepcopy(draw.choice(NASTY))
    return tree


def _places(tree: Any) -> Any:
    """Walk to every place in dicts and lists, as (container, key)."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    if not isinstance(tree, dict | list):
        return
    for key, item in list(items):
        yield tree, key
        if isinstance(item, dict | list):
            yield from _places(item)
