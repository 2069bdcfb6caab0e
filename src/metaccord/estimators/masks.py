"""Which entries of a network are pruned: masks of 0 and 1, by name, ``[T, ...]``.

Legend: T tasks, n output channels of a weight.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from metaccord import keys
from metaccord.engine import Plan
from metaccord.types import Params, Stacked


def inside(name: str, part: str) -> bool:
    """Say whether a parameter is the part, or belongs to it."""
    return name == part or name.startswith(f"{part}.")


def channels(model: nn.Module, head: str) -> dict[str, list[str]]:
    """Return the weights to prune, each with the tensors that belong to its output channels.

    These are the weight itself and, of the vectors of its width that stand behind it in the
    model, before the next weight and below the parent of its module, all: bias, scale and shift.
    With them a channel gives 0 for every input. Frozen tensors are left out.

    Args:
        model: Its weights are the parameters with two axes or more.
        head: What is never pruned: a name or the leading part of names.
    """
    groups: dict[str, list[str]] = {}
    owner, width = "", 0
    for name, tensor in model.named_parameters():
        if tensor.dim() >= 2:
            owner, width, groups[name] = name, len(tensor), []
        module = owner.rpartition(".")[0]
        parent = module[: module.rfind(".") + 1]  # with its dot; "" is the whole model
        vector = tuple(tensor.shape) == (width,) and name.startswith(parent)
        free = tensor.requires_grad and not inside(name, head)
        if owner and free and (name == owner or vector):
            groups[owner].append(name)
    return {k: v for k, v in groups.items() if k in v}


def by_chance(
    plan: Plan, key: Tensor, model: Stacked, groups: dict[str, list[str]], ratio: float
) -> Stacked:
    """Drop each entry of the weights with the same probability.

    Args:
        plan: How tasks run side by side.
        key: Seeds ``[T]``.
        model: The model's tensors, ``[T, ...]``.
        groups: As found by :func:`channels`.
        ratio: The probability.
    """

    def one(key: Tensor) -> Params:
        found = {}
        for number, name in enumerate(groups):
            chance = keys.uniform(keys.mix(key, number), tuple(model[name].shape[1:]))
            found[name] = (chance >= ratio).to(model[name].dtype)
        return found

    return cast(Stacked, plan.over_tasks(one)(key))


def by_width(
    plan: Plan, key: Tensor, model: Stacked, groups: dict[str, list[str]], ratio: float
) -> Stacked:
    """Drop whole channels, a fixed number of each weight, with all that belongs to them.

    Args:
        plan, key, model, groups: As for :func:`by_chance`.
        ratio: The fraction of channels.
    """
    del plan
    found = {}
    for number, (name, members) in enumerate(groups.items()):
        count = model[name].shape[1]
        places = keys.permutation(keys.mix(key, number), count)  # [T, n]
        kept = (places >= dropped(ratio, count)).to(model[name].dtype)
        for member in members:
            like = model[member]
            found[member] = kept.reshape(*kept.shape, *[1] * (like.dim() - 2)).expand_as(like)
    return found


def by_score(scores: Stacked, ratio: float) -> Stacked:
    """Drop the entries with the largest scores, a fixed number of each tensor.

    Args:
        scores: ``[T, ...]``, without graph.
        ratio: The fraction of entries.
    """
    found = {}
    for name, score in scores.items():
        order = score.flatten(1).argsort(dim=1, descending=True, stable=True)
        places = order.argsort(dim=1)  # [T, entries]: 0 is the largest
        kept = (places >= dropped(ratio, places.shape[1])).to(score.dtype)
        found[name] = kept.reshape(score.shape)
    return found


def dropped(ratio: float, count: int) -> int:
    """Return the whole number nearest to ``ratio`` times ``count`` that leaves one."""
    return min(round(ratio * count), count - 1)
