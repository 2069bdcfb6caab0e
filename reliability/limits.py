"""What a process holds of memory and file handles, and limits to it."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from pathlib import Path

from metaccord.memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

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
