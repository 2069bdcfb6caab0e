"""How the processes that ``torchrun`` starts meet, part, and end with their launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from metaccord.errors import PeerError, UsageError
from metaccord.peers import Peers

TIMEOUT = 120.0
"""Seconds until a silent process is given up (PyTorch's default is 30 minutes)."""
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


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


def refuse_company(verb: str) -> None:
    """Raise UsageError if a launcher started several processes for what one does.

    Args:
        verb: Of the command line.
    """
    if verb != "train" and _started():
        raise UsageError(
            f"only train runs in several processes, not {verb}: start it without torchrun"
        )


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
    backend = _own_device()
    limit: Any = timedelta(seconds=timeout)

    def meet() -> Peers:
        notes, rank, count = next(iter(rendezvous("env://", timeout=limit)))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"metaccord/{attempt}", notes)  # what earlier attempts left is old
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)
        return Peers(store)

    try:
        return _deaf(meet)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerError(
            f"rank {os.environ['RANK']} did not meet the others at {where} within {timeout:g} s: "
            f"{' '.join(str(error).split())[:200]}; see that all are started and reach that host"
        ) from error


def _own_device() -> str:
    """Take a GPU, if there are any, and return what connects the processes.

    NCCL wants a device for each process; those that share one exchange through gloo.
    """
    if not torch.cuda.is_available():
        return "gloo"
    devices = torch.cuda.device_count()
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % devices)
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > devices
    return "cpu:gloo,cuda:gloo" if shared else "cpu:gloo,cuda:nccl"


def _deaf(meet: Callable[[], Peers]) -> Peers:
    """Meet in a thread without signals: the threads that it starts inherit that.

    A signal that interrupts one of the connection's threads may end the process; the main thread
    goes on hearing all.
    """
    found: Future[Peers] = Future()

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            found.set_result(meet())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return found.result()


def _die_with_parent() -> None:
    """Have the kernel ask this process to save and end when its launcher is gone."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
