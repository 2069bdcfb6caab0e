"""Freed memory stays with the process: the second of two equal computations maps no new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from metaccord.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**18) for _ in range(200)]  # 200 MiB in blocks of 1 MiB
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "keep" in sys.argv:
    assert keep_freed()
faults()
print(faults())
"""


def faults(*words: str) -> int:
    """Return the page faults of the second computation, in a new process."""
    command = [sys.executable, "-c", PROGRAM, *words]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is tuned")
def test_kept_memory_is_not_mapped_again() -> None:
    """Without the setting the same program faults on every page."""
    usual = faults()
    assert usual > 10_000
    assert faults("keep") < usual / 5
