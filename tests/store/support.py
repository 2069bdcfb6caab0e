"""What the tests of the store share: example checkpoints, forked children."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from metaccord.checkpoint import Checkpoint

DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)


def example(step: int) -> Checkpoint:
    """Return a small checkpoint whose every file differs from that of any other step."""
    draw = torch.Generator().manual_seed(step)
    tensors: dict[str, Tensor] = {"z.last": torch.randn(3, 4, generator=draw)}
    for dtype in DTYPES:
        values = torch.randint(0, 2**31, (5,), generator=draw)
        tensors[f"{dtype}.row"] = values.to(dtype) if dtype != torch.bool else values % 2 == 0
        tensors[f"{dtype}.scalar"] = torch.tensor(step, dtype=dtype)
        tensors[f"{dtype}.empty"] = torch.empty(0, 3, dtype=dtype)
    return Checkpoint(step, tensors, {"step": step, "best": float("-inf"), "plan": {"chunk": 4}})


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    """Assert equality of every bit, the order of names included."""
    assert found.step == expected.step
    assert found.state == expected.state
    assert list(found.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        other = found.tensors[name]
        assert (other.dtype, other.shape) == (tensor.dtype, tensor.shape)
        assert other.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def copy_of(folder: Path, target: Path) -> Path:
    """Replace ``target`` by a copy of ``folder``."""
    if target.exists():
        shutil.rmtree(target)
    return Path(shutil.copytree(folder, target))


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a child process and return its process id; the exit status is 0 or 1."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def exit_code(child: int) -> int:
    """Wait for a child and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
