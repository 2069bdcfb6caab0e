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
ADVICE = "go on from the last checkpoint with --resume"
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
        launched = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        self.keeper = "the launcher" if launched else "rank 0"
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
        """Leave the reason why this process ends, and give the others time to read it."""
        with suppress(RuntimeError):
            self.store.set("cause", f"rank {self.rank} ({self._who(self.rank)}): {reason}")
            self._leave()
            self._linger(self.others)

    def _met(self, exchange: Callable[[], T]) -> T:
        try:
            return exchange()
        except RuntimeError as error:
            self._leave()
            raise PeerError(f"{self._blame(error)}; {ADVICE}") from error

    def _leave(self) -> None:
        """Close the connections at once, so that nobody waits for this process."""
        with suppress(RuntimeError):
            dist.destroy_process_group()

    def _blame(self, error: RuntimeError) -> str:
        """Return who is lost: who left a reason, or does not answer."""
        try:
            self.store.set(f"here/{self.rank}", "yes")
            silent = self._silent()
            names = [f"rank {rank} ({self._who(rank)})" for rank in silent]
            cause = self.store.get("cause").decode() if self.store.check(["cause"]) else None
            self.store.set(f"told/{self.rank}", "yes")
            self._linger([rank for rank in self.others if rank not in silent])
        except RuntimeError:
            return f"{self.keeper} is gone, and with it what the others noted"
        if cause is not None:
            return cause
        if names:
            return f"{', '.join(names)} died or hangs"
        return f"an exchange failed though all ranks answer: {' '.join(str(error).split())}"

    def _silent(self) -> list[int]:
        """Return the ranks that do not say that they are there, unless one left a reason."""
        silent = self.others
        for _ in _while(ANSWER):
            silent = [rank for rank in silent if not self.store.check([f"here/{rank}"])]
            if not silent or self.store.check(["cause"]):
                break
        return silent

    def _linger(self, others: list[int]) -> None:
        """Wait until the others have read the notes, where this process keeps them."""
        if self.rank == 0 and self.keeper == "rank 0":
            for _ in _while(ANSWER):
                if self.store.check([f"told/{rank}" for rank in others]):
                    break

    def _who(self, rank: int) -> str:
        key = f"who/{rank}"
        return self.store.get(key).decode() if self.store.check([key]) else "never seen"


def _while(seconds: float) -> Iterator[None]:
    """Yield every 20 ms for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


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
        with _deaf():
            store, rank, count = next(iter(rendezvous("env://", timeout=limit)))
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=limit
            )
        return Peers(PrefixStore("metaccord", store))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerError(
            f"rank {os.environ['RANK']} did not meet the others at {where} within {timeout:g} s: "
            f"{' '.join(str(error).split())[:200]}; see that all are started and reach that host"
        ) from error


@contextmanager
def _deaf() -> Iterator[None]:
    """Start threads that no signal interrupts: only the main thread is to hear them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """Have the kernel ask this process to save and end when its launcher is gone."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
