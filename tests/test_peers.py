"""Who is named when an exchange fails, and who waits for whom: notes in a store of this process."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from metaccord import peers
from metaccord.peers import Peers

FAILED = RuntimeError("connection closed")


def company(count: int) -> list[Peers]:
    """Processes that meet in one store and all seem to be alive; there is no connection."""
    store, found = HashStore(), []
    for rank in range(count):
        one = Peers.__new__(Peers)
        one.rank, one.count, one.store, one.keeper, one.blamed = rank, count, store, "rank 0", []
        one.others = [other for other in range(count) if other != rank]
        store.set(f"who/{rank}", f"{socket.gethostname()} process {os.getpid()}")
        found.append(one)
    return found


def lingering(one: Peers) -> threading.Thread:
    thread = threading.Thread(target=one._linger)
    thread.start()
    thread.join(0.1)
    return thread


def test_the_keeper_stays_for_who_has_not_read_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """One raises, the keeper sees it at once; the third comes late and still reads the reason."""
    monkeypatch.setattr(Peers, "_leave", lambda one: None)
    keeper, lost, late = company(3)
    lost.complain("ArithmeticError: planted")
    assert "rank 1" in keeper._blame(FAILED)
    waiting = lingering(keeper)
    assert waiting.is_alive()
    assert late._blame(FAILED) == keeper._blame(FAILED)
    waiting.join(1.0)
    assert not waiting.is_alive()


def test_nobody_waits_for_the_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ANSWER", 0.1)
    keeper, _, other = company(3)
    keeper.store.set("here/2", "yes")
    assert keeper._blame(FAILED).endswith("died or hangs")
    waiting = lingering(keeper)
    assert waiting.is_alive()
    assert other._blame(FAILED).startswith("rank 1 ")
    waiting.join(1.0)
    assert not waiting.is_alive()


def test_an_exchange_that_fails_though_all_answer() -> None:
    first, second = company(2)
    second.store.set("here/1", "yes")
    assert first._blame(FAILED) == "an exchange failed though all answer: connection closed"
