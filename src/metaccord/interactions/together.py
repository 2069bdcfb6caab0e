"""Several interactions as one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions.base import Interaction
from metaccord.objective import Objective
from metaccord.tree import scope, under
from metaccord.types import Adaptation, Notes, Own, Params, Stacked


@dataclass(frozen=True, kw_only=True)
class Together(Interaction):
    """Apply the parts in order; penalties are added. No parts: no interaction.

    Args:
        parts: Interactions with different names; the tensors of each live below its name.

    Raises:
        UsageError: if a name occurs twice.
    """

    parts: tuple[Interaction, ...] = ()

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise UsageError(f"interaction {twice[0]!r} occurs twice: wrap the method once")

    @property
    def places(self) -> frozenset[str]:
        """The hooks that any part overrides."""
        return frozenset().union(*(part.places for part in self.parts))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the run must keep for any part."""
        return frozenset().union(*(part.needs for part in self.parts))

    @property
    def independent(self) -> bool:
        """Whether every part is."""
        return all(part.independent for part in self.parts)

    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        """Return the tensors of all parts, each below its name."""
        found = {part.name: part.init(params, steps, objective, seed) for part in self.parts}
        return Own(
            {k: v for name, own in found.items() for k, v in under(own.learned, name).items()},
            {k: v for name, own in found.items() for k, v in under(own.running, name).items()},
        )

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        """Apply ``share`` of the parts in order."""
        for part in self.parts:
            grads = part.share(_of(own, part), grads, step, axis)
        return grads

    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        """Apply ``correct`` of the parts in order."""
        for part in self.parts:
            adapted = part.correct(_of(own, part), adapted, run, axis)
        return adapted

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> Tensor | float:
        """Return the sum of the penalties."""
        return sum(part.penalty(_of(own, part), run, objective, axis) for part in self.parts)

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Apply ``reconcile`` of the parts in order; notes carry the part's name."""
        notes: Notes = {}
        for part in self.parts:
            rows, found = part.reconcile(_of(own, part), rows, run, axis)
            notes |= under(found, part.name)
        return rows, notes

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Return the running tensors and the notes of all parts."""
        running: Params = {}
        notes: Notes = {}
        for part in self.parts:
            seen, found = part.observe(_of(own, part), run, axis)
            running |= under(seen, part.name)
            notes |= under(found, part.name)
        return running, notes


def _of(own: Own, part: Interaction) -> Own:
    return Own(scope(own.learned, part.name), scope(own.running, part.name))
