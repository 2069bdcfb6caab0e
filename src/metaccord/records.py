"""What one meta-step leaves behind: a few numbers, and the state."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """

    step: int
    seconds: float
    numbers: dict[str, Number]
    state: MetaState = field(repr=False)
    optimizer: torch.optim.Optimizer = field(repr=False)
    plan: Plan = field(repr=False)

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
        return {"step": self.step, "seconds": self.seconds, **self.numbers}


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
    run = _everyone(found.run, axis)
    tensors = {"grad_norm": norm, **found.notes}
    if run.losses is not None:
        tensors["query_loss"] = run.losses.mean()
    if run.support_losses:
        which = 0 if run.losses is not None else -1
        tensors["support_loss"] = run.support_losses[which].mean()
    slots = [v for v in found.running.values() if v.is_floating_point()]
    norms = torch._foreach_norm([norm, *slots, *held.values()])
    kinds = {n.dtype for n in norms}
    alike = [torch.stack([n for n in norms if n.dtype == kind]).sum() for kind in kinds]
    packed = torch.cat([v.detach().flatten().double() for v in (*tensors.values(), *alike)])
    values = packed.tolist()  # the only synchronisation of a meta-step
    if not all(map(_finite, values)):
        raise NumericalError(_diagnosis(found._replace(run=run), step, held))
    numbers: dict[str, Number] = {}
    start = 0
    for name, tensor in tensors.items():
        piece = values[start : start + tensor.numel()]
        numbers[name] = piece[0] if tensor.dim() == 0 else piece
        start += tensor.numel()
    return numbers


def _everyone(run: Adaptation, axis: TaskAxis) -> Adaptation:
    """Return the run with the losses of the tasks of all processes, in one exchange."""
    found = [*run.support_losses, *([] if run.losses is None else [run.losses])]
    if axis.ranks is None or not found:
        return run
    losses = axis.gather(torch.stack(found, 1)).T.contiguous().unbind()
    steps = len(run.support_losses)
    return run._replace(
        support_losses=losses[:steps], losses=None if run.losses is None else losses[steps]
    )


def _finite(value: float) -> bool:
    return value - value == 0.0


def _diagnosis(found: MetaStep, step: int, held: Params) -> str:
    before = [f"{name} before the step" for name in _broken(held)]
    bad = [*before, *_broken(found.grads), *_broken(found.running)]
    inner = [
        *found.run.support_losses,
        *([found.run.losses] if found.run.losses is not None else []),
    ]
    first = next((k for k, loss in enumerate(inner) if not loss.isfinite().all()), None)
    tasks = sorted({i for loss in inner for i in (~loss.isfinite()).nonzero().flatten().tolist()})
    where = (
        f"losses first at inner step {first} in tasks {tasks[:8]}"
        if tasks
        else "the losses are finite"
    )
    return (
        f"not finite at meta-step {step}: {', '.join(bad[:4]) or 'a recorded number'}; {where}; "
        "nothing was updated: lower rule.lr or outer.lr, or set outer.clip_norm=10"
    )


def _broken(tensors: Params) -> list[str]:
    return [name for name, value in tensors.items() if not value.isfinite().all()]
