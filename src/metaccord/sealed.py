"""Reading files that are checked as they are read: sealed documents, known content, tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError
from metaccord.memory import ran_out

Damaged = Callable[[Path, str], CheckpointError]
"""Makes the error from a file and what is wrong with it, as in "it has 3 bytes"."""


class Fact(NamedTuple):
    """What a document says of another file: SHA-256 in hexadecimal digits, and bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Fact:
        """Return the fact about some content."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def from_json(cls, tree: Any) -> Fact:
        """Return what ``_asdict`` was written from.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: if it is something else.
        """
        return cls(str(tree["sha256"]), int(tree["size"]))


def document(path: Path, most: int, version: int, damaged: Damaged, what: str) -> dict[str, Any]:
    """Return the tree of a sealed document of at most ``most`` bytes.

    Args:
        path: The file.
        most: Refuse a longer one, bytes.
        version: The value of its entry ``format``.
        damaged: Makes the error.
        what: Its name in the message about another format.

    Raises:
        CheckpointError: if it is damaged or of another format.
    """
    try:
        found = jsontree.unseal(_read(path, most, damaged))
    except ValueError as error:
        raise damaged(path, f"is not what was written ({error})") from error
    other = found.get("format") if isinstance(found, dict) else None
    if not isinstance(found, dict) or other != version:
        raise CheckpointError(
            f"{what} has format {other!r}, this version reads {version}: install the version of "
            "metaccord that wrote it"
        )
    return found


def intact(path: Path, fact: Fact, damaged: Damaged) -> bytes:
    """Return the content of a file if it is what a document says.

    Raises:
        CheckpointError: otherwise.
    """
    found = _read(path, fact.size, damaged)
    if len(found) != fact.size:
        raise damaged(path, f"has {len(found)} bytes, expected {fact.size}")
    if Fact.of(found) != fact:
        raise damaged(path, "does not match its sha256")
    return found


def unpacked(path: Path, content: bytes, damaged: Damaged) -> dict[str, Tensor]:
    """Return the tensors in the content of a safetensors file.

    Args:
        path: The file, for the error.
        content: What is in it.
        damaged: Makes the error.

    Raises:
        CheckpointError: if it is no safetensors file.
        Exception: what tells that memory ran out, as it came: the file may be intact.
    """
    try:
        return safetensors.torch.load(content)
    except Exception as error:  # A hostile file raises whatever the parser thinks of.
        if ran_out(error):
            raise
        raise damaged(path, f"is no safetensors file ({error})") from error


def _read(path: Path, most: int, damaged: Damaged) -> bytes:
    try:
        return fs.read(path, most)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
