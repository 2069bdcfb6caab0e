"""What lies in the folder of one checkpoint: tensors, a JSON state and a sealed manifest.

``step-000123/`` holds ``tensors.safetensors``, ``state.json`` and ``manifest.json``: format
version, step, SHA-256 and size of the other two files, sealed by its own SHA-256. Nothing else may
lie there. There is no pickle in any of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from metaccord import fs, jsontree
from metaccord.errors import CheckpointError, NumericalError, UsageError
from metaccord.memory import ran_out
from metaccord.sealed import Fact, document, intact, unpacked

FORMAT = 1
MANIFEST = "manifest.json"
_TENSORS, _STATE = "tensors.safetensors", "state.json"
_MANIFEST_LIMIT = 1 << 16
_RESERVED = "__metadata__"
_REMEDY = "use an older step or restore it from a backup"


class Checkpoint(NamedTuple):
    """What a run needs to go on.

    Attributes:
        step: Number of meta-steps done.
        tensors: Any dense tensors by name; they come back in this order, on the CPU.
        state: JSON tree; non-finite floats are allowed.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class DamagedError(CheckpointError):
    """The files are not what was written; another format or a missing folder is not damage."""


def folder_name(step: int) -> str:
    """Return ``step-000123``.

    Raises:
        UsageError: if ``step`` is no whole number >= 0.
    """
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise UsageError(f"step must be a whole number >= 0, found {step!r}: use the meta-step")
    return f"step-{step:06d}"


def pack(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the content of every file of a checkpoint, the manifest last.

    Raises:
        NumericalError: if a tensor is not finite.
        UsageError: if a tensor or the state cannot be stored.
    """
    where = folder_name(checkpoint.step)
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if name == _RESERVED or tensor.layout != torch.strided or tensor.is_meta:
            raise UsageError(f"tensor {name!r} cannot be stored: use a dense one, another name")
        if not _is_finite(tensor):
            raise NumericalError(
                f"tensor {name!r} of {where} is not finite, so nothing is saved: "
                "go on from the last checkpoint with a smaller learning rate"
            )
        # A copy of each: safetensors refuses views and tensors that share memory.
        tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    state = {"order": list(tensors), "state": checkpoint.state}
    try:
        packed = safetensors.torch.save(tensors)
    except Exception as error:  # Its errors have no common base.
        if ran_out(error):
            raise
        raise UsageError(f"tensors of {where} cannot be stored: {error}; convert them") from error
    files = {_TENSORS: packed, _STATE: jsontree.encode(state, "checkpoint").encode()}
    facts = {name: Fact.of(content)._asdict() for name, content in files.items()}
    manifest = {"format": FORMAT, "step": checkpoint.step, "files": facts}
    return {**files, MANIFEST: jsontree.seal(manifest)}


def load(path: Path) -> Checkpoint:
    """Read one checkpoint folder and check every byte, the tensors' names and that they are finite.

    Raises:
        CheckpointError: naming the file and what is wrong with it; :class:`DamagedError` unless it
            is intact in another format.
        ResourceError: if the machine cannot read.
    """
    step, facts = _manifest(path)
    try:
        found = fs.names(path)
    except OSError as error:
        raise _damaged(path, f"cannot be listed ({error.strerror})") from error
    if found != sorted([MANIFEST, *facts]):
        raise _damaged(path, f"holds {found}, expected {sorted([MANIFEST, *facts])}")
    files = {name: intact(path / name, fact, _damaged) for name, fact in facts.items()}
    return Checkpoint(step, *_unpack(path, files))


def _is_finite(tensor: Tensor) -> bool:
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.float()  # isfinite is not implemented for all 8-bit floats.
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return bool(torch.isfinite(tensor).all())


def _damaged(path: Path, found: str) -> DamagedError:
    return DamagedError(f"checkpoint file {str(path)!r} is damaged: it {found}; {_REMEDY}")


def _manifest(path: Path) -> tuple[int, dict[str, Fact]]:
    """Return the step, and the fact about each file."""
    file = path / MANIFEST
    what = f"checkpoint {str(path)!r}"
    manifest = document(file, _MANIFEST_LIMIT, FORMAT, _damaged, what)
    try:
        step = manifest["step"]
        facts = {name: Fact.from_json(fact) for name, fact in manifest["files"].items()}
        expected = folder_name(step)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(file, f"lacks a field ({error!r})") from error
    if expected != path.name:
        raise _damaged(file, f"belongs to {expected}")
    if set(facts) != {_TENSORS, _STATE}:
        raise _damaged(file, f"lists {sorted(facts)}, expected {sorted((_TENSORS, _STATE))}")
    return step, facts


def _unpack(path: Path, files: dict[str, bytes]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = unpacked(path / _TENSORS, files[_TENSORS], _damaged)
    try:
        found = jsontree.decode(files[_STATE])
        order, state = found["order"], found["state"]
        ordered = {name: tensors[name] for name in order}
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path / _STATE, f"does not fit ({error!r})") from error
    if len(order) != len(tensors) or len(ordered) != len(tensors) or not isinstance(state, dict):
        raise _damaged(path / _STATE, "does not list the tensors")
    for name, tensor in ordered.items():
        if not _is_finite(tensor):
            raise _damaged(path / _TENSORS, f"holds a non-finite value in {name!r}")
    return ordered, state
