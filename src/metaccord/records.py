"""What one meta-step leaves behind: a few numbers, and the state."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.errors import NumericalError
from metaccord.outer import optimizer_tensors
from metaccord.types import Adaptation, MetaState, MetaStep, Params

Number = float | list[float]


@dataclass(frozen=True, eq=False)
class Record:
    """One meta-step.

    Attributes:
        step: Number of meta-steps done.
        seconds: Wall time of this one, episodes included.
        numbers: means over tasks of ``query_loss`` after all inner steps and of ``support_loss``
            before the first one (without query loss: before the last one); ``grad_norm`` of
            the averaged gradient; notes such as ``agreement.weights``.
        state: The live state: the next step changes its tensors in place.
        plan: How it was executed.
        extras: What a run with a folder measured beside the meta-step: ``validation``, ``warning``.
    """

    step: int
    seconds: float
    numbers: dict[str, Number]
    state: MetaState = field(repr=False)
    optimizer: torch.optim.Optimizer = field(repr=False)
    plan: Plan = field(repr=False)
    extras: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def loss(self) -> float:
        """Mean query loss; without one (Reptile), the support loss of the last inner step."""
        value = self.numbers["query_loss" if "query_loss" in self.numbers else "support_loss"]
        assert isinstance(value, float)
        return value

    @property
    def slots(self) -> Params:
        """Tensors of the outer optimiser, for going on later."""
        return optimizer_tensors(self.optimizer, self.state.params)

    def json(self) -> dict[str, Any]:
        """Return the numbers as one JSON object."""
        return {"step": self.step, "seconds": self.seconds, **self.numbers, **self.extras}


def collect(
    found: MetaStep, norm: Tensor, step: int, axis: TaskAxis, held: Params
) -> dict[str, Number]:
    """Bring the recorded numbers to the host in one transfer and refuse what is not finite.

    Args:
        found: The meta-step.
        norm: Euclidean norm of its averaged gradient, ``[]``.
        step: Its index, for the message.
        axis: The tasks, whose losses are brought together.
        held: Other tensors that must be finite, by name: weights, slots of the optimiser.

    Raises:
        NumericalError: naming the step, tensors and tasks.
    """
    run, health = _everyone(found.run, _health({"gradient": norm, **found.running, **held}), axis)
    tensors = {"grad_norm": norm, **found.notes}
    if run.losses is not None:
        tensors["query_loss"] = run.losses.mean()
    if run.support_losses:
        which = 0 if run.losses is not None else -1
        tensors["support_loss"] = run.support_losses[which].mean()
    inner = [torch.cat(_losses(run)).double().sum()] if _losses(run) else []
    parts = (*tensors.values(), *inner, health)  # every inner step, every rank
    values = torch.cat([v.detach().flatten().double() for v in parts]).tolist()  # synchronises
    if not all(map(_finite, values)):
        ill = [rank for rank, value in enumerate(values[-len(health) :]) if not _finite(value)]
        raise NumericalError(_diagnosis(found._replace(run=run), step, held, tensors, ill))
    numbers: dict[str, Number] = {}
    start = 0
    for name, tensor in tensors.items():
        piece = values[start : start + tensor.numel()]
        numbers[name] = piece[0] if tensor.dim() == 0 else piece
        start += tensor.numel()
    return numbers


def _losses(run: Adaptation) -> list[Tensor]:
    """Return the losses of all inner steps, the query losses last."""
    return [*run.support_losses, *([] if run.losses is None else [run.losses])]


def _health(tensors: Params) -> Tensor:
    """Return what is finite if the length of every floating-point tensor is: ``[]``."""
    found = torch._foreach_norm([v for v in tensors.values() if v.is_floating_point()])
    kinds = {n.dtype for n in found}
    alike = [torch.stack([n for n in found if n.dtype == kind]).sum() for kind in kinds]
    return reduce(torch.add, alike)


def _everyone(run: Adaptation, health: Tensor, axis: TaskAxis) -> tuple[Adaptation, Tensor]:
    """Return the run with the losses of all tasks, and the health of all ranks, in one exchange."""
    if axis.ranks is None:
        return run, health[None]
    found = _losses(run)
    kind = found[0].dtype if found else health.dtype
    mine = (health - health).to(kind)  # 0 or NaN, whatever the precision
    rows = torch.stack([*found, mine.expand(axis.local)], 1)  # [T, K + 2]
    *losses, ranks = axis.gather(rows).T.contiguous().unbind()
    steps = len(run.support_losses)
    everyone = run._replace(
        support_losses=tuple(losses[:steps]), losses=None if run.losses is None else losses[steps]
    )
    return everyone, ranks[:: axis.local]


def _finite(value: float) -> bool:
    return value - value == 0.0


def _diagnosis(found: MetaStep, step: int, held: Params, recorded: Params, ill: list[int]) -> str:
    before = [f"{name} before the step" for name in broken(held)]
    bad = [*before, *broken(found.grads), *broken(found.running), *broken(recorded)]
    if ill and not bad:
        bad = [f"tensors of rank {', '.join(map(str, ill))}"]
    inner = _losses(found.run)
    first = next((k for k, loss in enumerate(inner) if not loss.isfinite().all()), None)
    tasks = sorted({i for loss in inner for i in (~loss.isfinite()).nonzero().flatten().tolist()})
    where = (
        f"losses first at inner step {first} in tasks {tasks[:8]}"
        if tasks
        else "the losses are finite"
    )
    return (
        f"not finite at meta-step {step}: {', '.join(bad[:4]) or 'a loss'}; {where}; "
        "nothing was updated: lower rule.lr or outer.lr, or set outer.clip_norm=10"
    )


def broken(tensors: Params) -> list[str]:
    """Return the names of tensors whose length is not finite; a single number may be as large."""
    floating = {k: v for k, v in tensors.items() if v.is_floating_point()}
    return [k for k, v in floating.items() if not torch.linalg.vector_norm(v).isfinite()]
