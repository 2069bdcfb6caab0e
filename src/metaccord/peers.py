"""The processes of one training: how they meet, and what is known when one of them is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from metaccord.errors import PeerError, UsageError
from metaccord.ranks import ProcessRanks

T = TypeVar("T")
TIMEOUT = 120.0
"""Seconds until a silent process is given up (PyTorch's default is 30 minutes)."""
ANSWER = 3.0  # seconds in which those who live say so, after an exchange has failed
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class Peers(ProcessRanks):
    """The processes of ``torch.distributed``, with a name for the one that fails.

    Args:
        store: Where the processes leave notes for one another.

    Attributes:
        rank: This process, from 0.
        count: How many there are.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.others = [rank for rank in range(self.count) if rank != self.rank]
        store.set(f"who/{self.rank}", f"{socket.gethostname()}, process {os.getpid()}")

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over all processes.

        Raises:
            PeerError: if one of them is lost, naming it.
        """
        return self._met(lambda: super(Peers, self).sum(x))

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all processes.

        Raises:
            PeerError: if one of them is lost, naming it.
        """
        return self._met(lambda: super(Peers, self).gather(x))

    def complain(self, reason: str) -> None:
        """Leave the reason why this process ends, for the others to read."""
        with suppress(RuntimeError):
            self.store.set("cause", f"rank {self.rank} ({self._who(self.rank)}): {reason}")

    def _met(self, exchange: Callable[[], T]) -> T:
        try:
            return exchange()
        except RuntimeError as error:
            with suppress(RuntimeError):  # at once, so that nobody else waits for this one
                dist.destroy_process_group()
            raise PeerError(self._blame(error)) from error

    def _blame(self, error: RuntimeError) -> str:
        """Return who is lost: who left a reason, or does not answer."""
        advice = "go on from the last checkpoint with --resume"
        try:
            self.store.set(f"here/{self.rank}", "yes")
            silent = self._silent()
            if self.store.check(["cause"]):
                return f"{self.store.get('cause').decode()}; {advice}"
            names = [f"rank {rank} ({self._who(rank)})" for rank in silent]
        except RuntimeError:
            return f"the process that started all is gone, with its notes; {advice}"
        if not names:
            return f"an exchange failed, all ranks answer: {' '.join(str(error).split())}; {advice}"
        return f"{', '.join(names)} died or hangs; {advice}"

    def _silent(self) -> list[int]:
        end, silent = time.monotonic() + ANSWER, self.others
        while silent and time.monotonic() < end and not self.store.check(["cause"]):
            time.sleep(0.05)
            silent = [rank for rank in silent if not self.store.check([f"here/{rank}"])]
        return silent

    def _who(self, rank: int) -> str:
        key = f"who/{rank}"
        return self.store.get(key).decode() if self.store.check([key]) else "never seen"


@contextmanager
def joined(timeout: float = TIMEOUT) -> Iterator[Peers | None]:
    """Meet the processes that ``torchrun`` started; None if this one is alone.

    An error that leaves the block is told to the others, who then raise PeerError.

    Args:
        timeout: Seconds until a silent process is given up.

    Raises:
        UsageError: if the environment names only part of what is needed.
        PeerError: if the others do not come within the timeout.
    """
    if not _started():
        yield None
        return
    _die_with_parent()
    peers = _met(timeout)
    try:
        yield peers
    except BaseException as error:
        if not isinstance(error, PeerError):
            peers.complain(" ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def restarted() -> bool:
    """Say whether the launcher has started this process again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _started() -> bool:
    """Say whether a launcher started several processes, and refuse half a description."""
    found = [name for name in _NEEDED if name in os.environ]
    missing = [name for name in _NEEDED if name not in os.environ]
    if {"RANK", "WORLD_SIZE"}.isdisjoint(found):
        return False
    if missing:
        raise UsageError(
            f"the environment has {', '.join(found)} but not {', '.join(missing)}: start with "
            "torchrun --nproc-per-node N -m metaccord ..., or unset them"
        )
    return os.environ["WORLD_SIZE"] != "1"


def _met(timeout: float) -> Peers:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    limit: Any = timedelta(seconds=timeout)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        store, rank, count = next(iter(rendezvous("env://", timeout=limit)))
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)
        return Peers(PrefixStore("metaccord", store))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerError(
            f"rank {os.environ['RANK']} did not meet the others at {where} within {timeout:g} s: "
            f"{' '.join(str(error).split())[:200]}; see that all are started and reach that host"
        ) from error


def _die_with_parent() -> None:
    """Have the kernel ask this process to save and end when its launcher is gone."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
