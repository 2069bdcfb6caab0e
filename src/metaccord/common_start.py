"""Several processes start a run from the same place, or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from torch.utils import _pytree as pytree

from metaccord import jsontree
from metaccord.checkpoint import Checkpoint
from metaccord.errors import PeerError
from metaccord.experiment import Experiment
from metaccord.objective import Objective
from metaccord.ranks import Ranks, spread
from metaccord.stored import fingerprint, versions


def spread_start(start: Checkpoint | None, ranks: Ranks) -> Checkpoint | None:
    """Return rank 0's checkpoint on every rank, without a file system in common."""
    state: dict[str, Any] | None = None
    tensors = b""
    if start is not None:
        state = {"step": start.step, "state": start.state, "order": list(start.tensors)}
        tensors = safetensors.torch.save({k: v.contiguous() for k, v in start.tensors.items()})
    facts = jsontree.decode(spread(jsontree.encode(state, "checkpoint").encode(), ranks))
    content = spread(tensors, ranks)
    if facts is None:
        return None
    found = safetensors.torch.load(content)
    return Checkpoint(facts["step"], {k: found[k] for k in facts["order"]}, facts["state"])


def refuse_different(experiment: Experiment, objective: Objective, ranks: Ranks) -> None:
    """Compare what all ranks bring with rank 0.

    Raises:
        PeerError: naming the rank and what differs: settings, versions, model or data.
    """
    tasks = replace(experiment.tasks, seed=experiment.seed)
    first = pytree.tree_leaves(tasks.episodes("train", 0, range(1)))
    settings = experiment.tree()
    settings["tasks"] = {**settings["tasks"], "folder": ""}  # each may stand in one of its own
    facts = {
        "settings": jsontree.encode(settings, "settings").encode(),
        "versions": jsontree.encode(versions(), "versions").encode(),
        "model": fingerprint(objective).encode(),
        "data": b"".join(t.cpu().contiguous().numpy().tobytes() for t in first),
    }
    digests = b"".join(hashlib.sha256(fact).digest() for fact in facts.values())
    mine = torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(1, len(facts), -1)
    every = ranks.gather(mine)
    same = (every == every[0]).all(2)  # [ranks, facts]
    for rank, row in enumerate(same.tolist()):
        if other := [name for name, equal in zip(facts, row, strict=True) if not equal]:
            raise PeerError(
                f"rank {rank} has other {' and '.join(other)} than rank 0: give all processes "
                "the same code, packages and METACCORD_DATA"
            )
