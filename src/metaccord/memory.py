"""How many bytes a computation holds at its peak."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(fn: Callable[[], object], device: torch.device) -> int:
    """Return the peak of bytes that ``fn`` allocates beyond what was there before.

    On a GPU this is the allocator's own peak; on a CPU the running sum of all allocations and
    releases that the profiler sees.

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
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        fn()
    results = recorded.profiler.kineto_results if recorded.profiler else None
    assert results is not None
    sizes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    return max(accumulate(sizes, initial=0))
