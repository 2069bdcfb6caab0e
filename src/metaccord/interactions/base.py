"""How tasks influence each other: five hooks whose default is the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.objective import Objective
from metaccord.types import Adaptation, Notes, Own, Params, Stacked

INFLUENCES = ("share", "correct", "penalty", "reconcile")


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """No influence at all; a subclass overrides the hooks it needs.

    Each hook maps a thing to a thing of the same type, so interactions compose.
    ``own.learned`` has a row per task in every hook; ``own.running`` has none.

    Attributes:
        name: The word on the command line and the prefix of its tensors and notes.
        needs: What the run must keep for it: ``"path"``, ``"grads"``, ``"features"``.
        reference: BibTeX of the paper.
        learns: Whether it brings learned tensors, which need a query loss.
        caveat: What must be said with every number made with it, if anything.
        discarded: Whether its learned tensors serve training alone: what is saved for use lacks
            them.
    """

    name: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()
    reference: ClassVar[str] = ""
    caveat: ClassVar[str] = ""
    learns: ClassVar[bool] = False
    discarded: ClassVar[bool] = False

    @property
    def places(self) -> frozenset[str]:
        """The hooks that this interaction overrides."""
        return frozenset(h for h in INFLUENCES if getattr(type(self), h) != getattr(Interaction, h))

    @property
    def independent(self) -> bool:
        """Whether no task sees another before ``reconcile``, so that graphs may be released."""
        return self.places <= {"reconcile"}

    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        """Return learned and running tensors, both without task rows.

        Args:
            params: What moves in the inner loop, ``[...]``.
            steps: Number of inner steps K.
            objective: Model and criterion.
            seed: Of what is drawn.
        """
        del params, steps, objective, seed
        return Own({}, {})

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        """Inner gradients to inner gradients, ``[T, ...]``, at each inner step."""
        del own, step, axis
        return grads

    def correct(self, own: Own, adapted: Stacked, run: Adaptation, axis: TaskAxis) -> Stacked:
        """Adapted solutions to corrected ones, ``[T, ...]``, before the query losses."""
        del own, run, axis
        return adapted

    def penalty(
        self, own: Own, run: Adaptation, objective: Objective, axis: TaskAxis
    ) -> Tensor | float:
        """Return what is added to the query losses: ``[T]``."""
        del own, run, objective, axis
        return 0.0

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Per-task meta-gradients to per-task meta-gradients, ``[T, ...]``, and what to record."""
        del own, run, axis
        return rows, {}

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Return the running tensors for the next meta-step, and what to record of this one.

        Neither influences anything now.
        """
        del run, axis
        return own.running, {}
