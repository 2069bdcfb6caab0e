"""When two numbers may be compared: one protocol, tasks of one kind, the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metaccord.episode_set import SHOWN
from metaccord.errors import UsageError
from metaccord.protocol import Protocol
from metaccord.scores import Scores

WHOLE = "numbers measured under different protocols are not compared"


def refuse(name: str, runs: Sequence[Scores], accuracy: bool) -> None:
    """Raise UsageError for the seeds of one method that never make one number."""
    for one in runs:
        if one.summary is not None:
            raise UsageError(
                f"the scores of {name} are of an older version and kept no single tasks: evaluate "
                "again"
            )
        if (one.accuracies is not None) != accuracy:
            raise UsageError("accuracies and losses are not compared: one is a classification")
        if differs := differences(runs[0], one):
            raise UsageError(
                f"the seeds of {name} were measured in different ways ({'; '.join(differs)}): "
                "evaluate all of them under one protocol"
            )


def same_episodes(a: Scores, b: Scores) -> bool:
    """Say whether both were measured on episodes that are known to be the same."""
    return a.episodes is not None and b.episodes is not None and (
        a.episodes.digest == b.episodes.digest)  # fmt: skip


def differences(a: Scores, b: Scores) -> list[str]:
    """Return in what two ways of measuring differ, in words; [] if they may be compared."""
    found = _protocols(a.protocol, b.protocol)
    if a.episodes is None or b.episodes is None:
        return found if a is b else [*found, "the episodes are unknown"]
    found += a.episodes.differences(b.episodes)
    if not found and not same_episodes(a, b):
        digests = " or ".join(one.digest[:SHOWN] for one in (a.episodes, b.episodes))
        found.append(f"the data changed, episodes: {digests}")
    return found


def _protocols(a: Protocol, b: Protocol) -> list[str]:
    mine, theirs = (vars(replace(one, steps=None)) for one in (a, b))
    return [f"{k}: {mine[k]} or {theirs[k]}" for k in mine if mine[k] != theirs[k]]
