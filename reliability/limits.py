"""Limits to the memory and file handles of a process, and what may differ within them."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from pathlib import Path

import torch

from metaccord import checkpoint
from metaccord.memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
from metaccord.rundir import RunDirectory
from metaccord.rundir_files import CHECKPOINTS

ROUNDING = 1e-4  # of parameters and slots after all steps, float32
MAPPED = 2**12  # bytes from which an allocation is a mapping of its own


def lower(what: int, top: int) -> None:
    """Set a limit of this process, one of ``resource.RLIMIT_*``."""
    resource.setrlimit(what, (top, resource.getrlimit(what)[1]))


def give_back() -> None:
    """Make a mapping of each tensor, which ends with it."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, MAPPED)
    libc.mallopt(M_TRIM_THRESHOLD, 0)
    libc.malloc_trim(0)


def fill_holes() -> int:
    """Take what the heap has free, for good: what comes next needs room of its own.

    Returns:
        The address space held then, bytes.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)[0]
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    lower(resource.RLIMIT_AS, 0)
    for power in range(25, 9, -1):
        while malloc(2**power):
            pass
    lower(resource.RLIMIT_AS, before)
    return held_bytes()[0]


def held_bytes() -> tuple[int, int]:
    """Return the address space of this process and its peak, bytes."""
    found = Path("/proc/self/status").read_text()
    now, peak = (re.search(rf"{name}:\s+(\d+) kB", found) for name in ("VmSize", "VmPeak"))
    assert now is not None
    assert peak is not None
    return 1024 * int(now[1]), 1024 * int(peak[1])


def free_handle(number: int) -> int:
    """Return a file handle that is free, with as many free ones below it."""
    handle = -1
    while number >= 0:
        handle += 1
        try:
            os.fstat(handle)
        except OSError:
            number -= 1
    return handle


def rounded(out: Path, plain: Path) -> bool:
    """Say whether a run is whole and differs by rounding alone.

    Products of matrices that cannot get their buffers are computed in another order by MKL.
    """
    ours, theirs = (checkpoint.read(path / CHECKPOINTS) for path in (out, plain))
    counts = [len(RunDirectory.read(path).records()) for path in (out, plain)]
    aside = list((out / CHECKPOINTS).glob("*.corrupt"))
    if aside or counts[0] != counts[1] or ours.step != theirs.step:
        return False
    return all(
        torch.allclose(ours.tensors[name], tensor, rtol=ROUNDING, atol=ROUNDING)
        for name, tensor in theirs.tensors.items()
    )
