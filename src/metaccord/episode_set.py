"""Which episodes a number was measured on: a hash over their content, and their shape in words.

Each task has a SHA-256 of its own over what it holds (inputs, targets, classes, at their true
sizes), and the set has one over those of its tasks in order. So the hash is the same in whatever
batches, processes or order the tasks were drawn, and another one as soon as a single number in
the data is another. Seeds of mini-batches and of dropout are no data and do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metaccord.errors import UsageError
from metaccord.protocol import Protocol
from metaccord.tasks.checks import checked
from metaccord.tasks.source import TaskSource
from metaccord.types import Batch, Episode

BATCH = 50  # tasks drawn side by side
SHOWN = 12  # digits of a hash in a line of text
# Of the stream, of training, of one machine; what the data are is in the hash of the episodes.
_PRIVATE = ("seed", "train_shots", "root", "path", "folder", "fingerprint")
_COUNTS = {"ways": "way", "shots": "shot", "queries": "query"}


@dataclass(frozen=True)
class EpisodeSet:
    """The identity of a set of episodes; numbers are paired only if theirs agree.

    Args:
        source: Class of the task source.
        facts: What the source was set to: names and values (ways, shots, queries, ...), without
            its seed, its training shots and where files lie.
        split, seed, tasks: Which tasks, as in :class:`metaccord.Protocol`.
        digest: SHA-256 over the content of the episodes, 64 hexadecimal digits.

    Example:
        >>> import metaccord as mc
        >>> found = EpisodeSet.of(mc.tasks.Sinusoid(shots=5), mc.Protocol(tasks=3))
        >>> str(found).split(", episodes")[0]
        'Sinusoid 5-shot 10-query'
    """

    source: str
    facts: tuple[tuple[str, Any], ...]
    split: str
    seed: int
    tasks: int
    digest: str

    @classmethod
    def of(cls, tasks: TaskSource, protocol: Protocol) -> EpisodeSet:
        """Return the set that a protocol draws from a source, by drawing it.

        :func:`metaccord.evaluate` finds the same on its way, without a second pass.

        Args:
            tasks: Its seed is replaced by the protocol's.
            protocol: Its split, seed and number of tasks count.
        """
        hashed, stream = Hashed(tasks, protocol), replace(tasks, seed=protocol.seed)
        for start in range(0, protocol.tasks, BATCH):
            chosen = range(start, min(start + BATCH, protocol.tasks))
            hashed.add(chosen, checked(stream, protocol.split, 0, chosen))
        return hashed.result()

    def differences(self, other: EpisodeSet) -> list[str]:
        """Return what is set differently, in words; the content is not looked at."""
        mine, theirs = dict(self.facts), dict(other.facts)
        found = [] if self.source == other.source else [f"{self.source} or {other.source}"]
        for name in {**mine, **theirs}:
            pair = [str(facts.get(name, "unset")) for facts in (mine, theirs)]
            if pair[0] != pair[1]:
                found.append(f"{name}: {pair[0]} or {pair[1]}")
        return found

    def __str__(self) -> str:
        facts = dict(self.facts)
        words = [f"{facts[k]}-{word}" for k, word in _COUNTS.items() if facts.get(k) is not None]
        return f"{' '.join([self.source, *words])}, episodes {self.digest[:SHOWN]}"

    def json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {**vars(self), "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> EpisodeSet:
        """Return what :meth:`json` described."""
        facts = tuple((str(k), _listed(v)) for k, v in found["facts"].items())
        return cls(**{**found, "facts": facts})


class Hashed:
    """Hashes episodes as they pass by, in any batches and in any order.

    Args:
        tasks: Where they come from.
        protocol: Which are drawn.
    """

    def __init__(self, tasks: TaskSource, protocol: Protocol) -> None:
        self._source, self._protocol = tasks, protocol
        self.digests: dict[int, bytes] = {}

    def add(self, chosen: range, episodes: Episode) -> None:
        """Take in the episodes of some tasks.

        Args:
            chosen: Indices of the tasks.
            episodes: Theirs, ``[T, ...]``.
        """
        content = [*_content(self._source, episodes)]
        for row, task in enumerate(chosen):
            found = hashlib.sha256()
            for name, leaf, sizes in content:
                one = leaf[row] if sizes is None else leaf[row][: sizes[row]]
                if name == "extra/classes":
                    one = one[one >= 0]  # -1 pads tasks of fewer ways
                found.update(f"{name} {one.dtype} {list(one.shape)}\n".encode())
                found.update(one.reshape(-1).contiguous().view(torch.uint8).numpy().data)
            self.digests[task] = found.digest()

    def result(self) -> EpisodeSet:
        """Return the set.

        Raises:
            UsageError: if a task of the protocol is missing.
        """
        protocol = self._protocol
        if missing := protocol.tasks - len(self.digests):
            raise UsageError(f"{missing} of {protocol.tasks} tasks are missing: add all of them")
        whole = hashlib.sha256(b"".join(self.digests[i] for i in range(protocol.tasks)))
        return EpisodeSet(
            type(self._source).__name__,
            facts_of(self._source, protocol.split),
            protocol.split,
            protocol.seed,
            protocol.tasks,
            whole.hexdigest(),
        )


def facts_of(source: TaskSource, split: str) -> tuple[tuple[str, Any], ...]:
    """Return the settings of a source that decide what its tasks of a split are like."""
    found = {f.name: getattr(source, f.name) for f in fields(source) if f.init}
    found["shots"] = source.support_shots(split)
    return tuple((k, v) for k, v in found.items() if k not in _PRIVATE and _plain(v))


def _content(source: TaskSource, episodes: Episode) -> Iterator[tuple[str, Tensor, Any]]:
    """Yield name, values ``[T, ...]`` on the CPU and true sizes (or None) of all that counts."""
    for place, part in source.content(episodes).items():
        batch = part if isinstance(part, Batch) else None
        sizes = batch.sizes if batch else ()
        named = {"inputs": batch.inputs, "targets": batch.targets} if batch else part
        for path, leaf in pytree.tree_flatten_with_path(named)[0]:
            name = "/".join([place, *(str(getattr(key, "key", key)) for key in path)])
            yield name, leaf.detach().cpu(), None if isinstance(sizes, tuple) else sizes.tolist()


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _listed(value: Any) -> Any:
    return tuple(map(_listed, value)) if isinstance(value, list | tuple) else value
