"""The folder of an adapted model: ``model.safetensors`` and ``card.json``; nothing else is read.

``card.json`` is sealed by its own SHA-256 and holds size and SHA-256 of the weights, so that every
byte is checked at load. The folder is staged beside its place and renamed once: it is whole or not
there. There is no pickle in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError, NumericalError, UsageError
from metaccord.sealed import Fact, document, intact, unpacked
from metaccord.staging import staged

FORMAT = 1
CARD, WEIGHTS = "card.json", "model.safetensors"
_CARD_LIMIT = 1 << 24
_REMEDY = "restore it from a backup, or adapt again"


def refuse_taken(path: Path) -> None:
    """Raise UsageError unless ``path`` is free or an empty folder, but not the present one."""
    try:
        taken = bool(fs.names(path))
    except OSError:
        taken = os.path.lexists(path)
    if taken or not path.name:
        raise UsageError(f"{str(path)!r} exists: choose another --out, nothing is overwritten")


def refuse_file(path: Path, name: str, endings: Sequence[str]) -> None:
    """Raise UsageError unless a new file of a known kind can be made there.

    Args:
        path: The file.
        name: Of the option.
        endings: Of the known kinds.
    """
    if path.suffix not in endings:
        raise UsageError(f"{name} is {str(path)!r}: let it end in {' or '.join(endings)}")
    if os.path.lexists(path):
        raise UsageError(f"{str(path)!r} exists: choose another {name}, nothing is overwritten")
    if not path.parent.is_dir():
        raise UsageError(f"{name} is {str(path)!r}, but there is no folder {str(path.parent)!r}")


def write(path: Path, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a model into a new folder.

    Args:
        path: A new or empty folder.
        tensors: Weights and statistics by name.
        card: JSON tree of :class:`metaccord.deploy.Card`.

    Raises:
        UsageError: if the folder holds something.
        NumericalError: if a tensor is not finite; nothing is written.
        ResourceError: if the machine cannot write.
    """
    refuse_taken(path)
    kept = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    for name, tensor in kept.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NumericalError(
                f"{name!r} of the adapted model is not finite, so nothing is saved: take fewer "
                "inner steps, or look for extreme values in the support set"
            )
    weights = safetensors.torch.save(kept)
    content = {"format": FORMAT, WEIGHTS: Fact.of(weights)._asdict(), "card": card}
    sealed = jsontree.seal(content, "card")
    staging = path.with_name(f".{path.name}.staging-{os.getpid()}")
    with staged(staging, path):
        try:
            fs.make(staging)
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be a folder ({error.strerror}): choose another --out"
            ) from error
        fs.write(staging / WEIGHTS, weights)
        fs.write(staging / CARD, sealed)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and card of a model folder after checking every byte.

    Raises:
        UsageError: if there is no model.
        CheckpointError: if it is damaged or of another format.
    """
    try:
        found = CARD in fs.names(path)
    except OSError:
        found = False
    if not found:
        raise UsageError(
            f"{str(path)!r} holds no adapted model, it has no {CARD}: make one with metaccord "
            "adapt RUN SUPPORT --out MODEL"
        )
    fact, card = _card(path / CARD)
    weights = intact(path / WEIGHTS, fact, _damaged)
    return unpacked(path / WEIGHTS, weights, _damaged), card


def _card(file: Path) -> tuple[Fact, dict[str, Any]]:
    """Return the fact about the weights, and the card."""
    tree = document(file, _CARD_LIMIT, FORMAT, _damaged, repr(str(file)))
    try:
        return Fact.from_json(tree[WEIGHTS]), dict(tree["card"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(file, f"lacks a field ({error!r})") from error


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(f"{str(path)!r} is damaged: it {found}; {_REMEDY}")
