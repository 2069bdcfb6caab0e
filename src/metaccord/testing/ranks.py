"""Several ranks in one process, a thread each, to check that spreading tasks changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
PATIENCE = 60.0  # seconds until a rank that does not come to an exchange is given up


class ThreadRanks:
    """One rank of several in one process; they meet at a barrier.

    Args:
        rank: This one.
        count: How many there are.
        table: Where all of them lay down what they exchange.
        barrier: Where they meet.
    """

    def __init__(
        self, rank: int, count: int, table: list[Tensor | None], barrier: threading.Barrier
    ) -> None:
        self.rank, self.count, self.table, self.barrier = rank, count, table, barrier

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over ranks, added in their order."""
        found = self._all(x)
        return torch.stack(found).sum(0)

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all ranks."""
        return torch.cat(self._all(x))

    def _all(self, x: Tensor) -> list[Tensor]:
        self.table[self.rank] = x
        self.barrier.wait(PATIENCE)
        found = [part.clone() for part in self.table if part is not None]
        self.barrier.wait(PATIENCE)
        return found


def on_ranks(count: int, work: Callable[[ThreadRanks], T]) -> list[T]:
    """Run ``work`` on each of ``count`` ranks at once and return what each found.

    Raises:
        Exception: the first error of a rank; the others are released.
    """
    table: list[Tensor | None] = [None] * count
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def one(rank: int) -> None:
        try:
            results[rank] = work(ThreadRanks(rank, count, table, barrier))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        broken = threading.BrokenBarrierError
        raise next((e for e in errors if not isinstance(e, broken)), errors[0])
    return [results[rank] for rank in range(count)]
