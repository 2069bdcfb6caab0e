"""How many bytes a computation holds at its peak, keeping them, and having none left."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes that may stay free at the top of the heap
MAPPED = 2**25  # bytes from which a block is mapped alone: the most that glibc allows

_WORDS = (  # in errors that have no type of their own
    "DefaultCPUAllocator", "bad_alloc", "failed to map segment", "annot allocate memory",
    "PyObject pointer is null",  # of safetensors, in Rust
)  # fmt: skip
_BEGUN = "[enforce fail at alloc_cpu.cpp"  # of torch, whose words may end where memory does


def peak_bytes(fn: Callable[[], object], device: torch.device) -> int:
    """Return the peak of tensor bytes that ``fn`` creates and holds at one time.

    On a GPU this is the allocator's own peak. On a CPU it is the peak of all live storages that
    operations return: graphs, rows and results, but not the scratch space inside an operation.

    Args:
        fn: The computation; it runs once.
        device: Where its tensors live.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        fn()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    live = _Live()
    with live:
        fn()
    return live.peak


def keep_freed() -> bool:
    """Keep freed CPU memory for the next meta-step, in this process; return whether that worked.

    A meta-step frees its graph as a whole, and glibc then gives the pages back to the system,
    which has to map and clear them again in the next step. Where all tasks are in flight at once
    that costs several percent of the time. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(M_MMAP_THRESHOLD, MAPPED) and libc.mallopt(M_TRIM_THRESHOLD, KEPT))


def ran_out(error: BaseException) -> bool:
    """Say whether an allocation failed: of a tensor, an object, or by a library's code."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    said = str(error)
    cut = len(said) > 1 and _BEGUN.startswith(said)
    return isinstance(error, kinds) or cut or any(word in said for word in _WORDS)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of storages from the operation that made them until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and take note of new storages."""
        for leaf in pytree.tree_leaves((args, kwargs)):  # what was there before is not counted
            if isinstance(leaf, Tensor):
                self._note(leaf, counted=False)
        found = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._note(leaf, counted=True)
        return found

    def _note(self, tensor: Tensor, *, counted: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes() if counted else 0

        def freed(_: Any) -> None:
            self.now -= size
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)
