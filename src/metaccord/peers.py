"""The processes of one training, and who is to blame when an exchange between them fails."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor
from torch import distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from metaccord.errors import PeerError
from metaccord.ranks import ProcessRanks

T = TypeVar("T")
ANSWER = 2.0  # seconds in which those who live say so, after an exchange has failed
LINGER = 6.0  # seconds that the keeper of the notes stays for those who have not read them
ADVICE = "go on from the last checkpoint with --resume"


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
        self.blamed: list[int] = []
        self.others = [rank for rank in range(self.count) if rank != self.rank]
        store.set(f"who/{self.rank}", f"{socket.gethostname()} process {os.getpid()}")

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

        def told() -> None:
            self.store.set("cause", f"rank {self.rank} ({self._who(self.rank)}): {reason}")
            self.store.set(f"told/{self.rank}", "yes")
            self._leave()
            self._linger()

        _in_time(told, LINGER)

    def _met(self, exchange: Callable[[], T]) -> T:
        try:
            return exchange()
        except RuntimeError as error:
            self._leave()
            blame = _in_time(partial(self._blame, error), 2 * ANSWER)
            _in_time(self._linger, LINGER)
            lost = f"{self.keeper}, which keeps the others' notes, is gone or out of reach"
            raise PeerError(f"{blame or lost}; {ADVICE}") from error

    def _leave(self) -> None:
        """Close the connections at once, so that nobody waits for this process."""
        with suppress(RuntimeError):
            dist.destroy_process_group()

    def _blame(self, error: RuntimeError) -> str:
        """Return who is lost: who left a reason, or does not answer."""
        self.store.set(f"here/{self.rank}", "yes")
        silent = self._silent()
        cause = self.store.get("cause").decode() if self.store.check(["cause"]) else None
        self.store.set(f"told/{self.rank}", "yes")
        if cause is not None:
            return cause  # who has not answered yet is still to read it
        self.blamed = silent
        names = [f"rank {rank} ({self._who(rank)})" for rank in silent]
        if not names:
            return f"an exchange failed though all answer: {' '.join(str(error).split())}"
        return f"{', '.join(names)} {'died' if self._dead(silent) else 'died or hangs'}"

    def _silent(self) -> list[int]:
        """Return who is dead; or else, after a while, who does not answer."""
        silent = self.others
        for _ in _while(ANSWER):
            silent = [rank for rank in silent if not self.store.check([f"here/{rank}"])]
            dead = self._dead(silent)
            if dead or not silent or self.store.check(["cause"]):
                return dead or silent
        return silent

    def _dead(self, silent: list[int]) -> list[int]:
        """Return those of this machine whose process is no more."""
        return [rank for rank in silent if _is_gone(self._who(rank))]

    def _linger(self) -> None:
        """Let those who answer read the notes, where this process keeps them."""
        for _ in _while(LINGER if self.rank == 0 and self.keeper == "rank 0" else 0.0):
            others = [rank for rank in self.others if rank not in self.blamed]
            left = [rank for rank in others if not self.store.check([f"told/{rank}"])]
            if left == self._dead(left):
                break

    def _who(self, rank: int) -> str:
        key = f"who/{rank}"
        return self.store.get(key).decode() if self.store.check([key]) else "never seen"


def _is_gone(who: str) -> bool:
    """Say whether a process of this machine has ended, from its host and number."""
    host, _, number = who.partition(" process ")
    if host != socket.gethostname() or not Path("/proc/self/stat").exists():
        return False
    try:
        facts = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return True
    return facts.rpartition(")")[2].split()[0] in "ZX"  # ended, and nobody has looked yet


def _in_time(talk: Callable[[], T], seconds: float) -> T | None:
    """Return what a talk with the store gives; None if that fails or lasts too long.

    A request over a cut link would wait for a quarter of an hour, so it has a thread of its own.
    """
    found: list[T] = []

    def tried() -> None:
        with suppress(RuntimeError):
            found.append(talk())

    thread = threading.Thread(target=tried, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def _while(seconds: float) -> Iterator[None]:
    """Yield every 20 ms for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
