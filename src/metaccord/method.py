"""A method is a rule, an estimator and any number of interactions."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch

from metaccord import tree
from metaccord.errors import UsageError
from metaccord.estimators.base import Estimator
from metaccord.interactions.base import Interaction
from metaccord.interactions.together import Together
from metaccord.objective import Objective, reinitialised
from metaccord.rules.base import InnerRule
from metaccord.types import MetaState, Params

log = logging.getLogger("metaccord")


@dataclass(frozen=True, kw_only=True)
class Method:
    """How tasks adapt, what flows back, and how tasks influence each other.

    Args:
        name: The word for it on the command line and in tables.
        rule: How one task moves.
        estimator: Which meta-gradient.
        interactions: How tasks influence each other, applied in this order.

    Attributes:
        interaction: All interactions as one.
        needs: What the run must keep: ``"path"``, ``"grads"``, ``"features"``.

    Raises:
        UsageError: for a combination without meaning; the message names the way out.

    Example:
        >>> from metaccord.methods import gradient_agreement, reptile
        >>> gradient_agreement(reptile()).label
        'reptile+agreement'
    """

    name: str
    rule: InnerRule
    estimator: Estimator
    interactions: tuple[Interaction, ...] = ()
    interaction: Together = field(init=False, repr=False, compare=False)
    needs: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        together = Together(parts=self.interactions)
        object.__setattr__(self, "interaction", together)
        object.__setattr__(self, "needs", together.needs | self.estimator.needs)
        self.estimator.suits(self.rule)
        for part in self.interactions:
            lost = sorted(part.places & self.estimator.refuses.keys())
            reason = self.estimator.refuses[lost[0]] if lost else ""
            if part.learns and not self.estimator.takes_query:
                reason = "it takes no query loss, so nothing of it would be learned"
            if reason:
                raise UsageError(
                    f"{part.name} has no meaning over {self.name}: {reason}; put it over maml() "
                    "instead"
                )

    @property
    def label(self) -> str:
        """The name with its interactions, for tables: ``maml+agreement``."""
        return "+".join([self.name, *(part.name for part in self.interactions)])

    @property
    def caveats(self) -> list[str]:
        """What must be said with every number made with it."""
        found = [self.estimator.caveat, *(part.caveat for part in self.interactions)]
        return [caveat for caveat in found if caveat]

    def at(self, step: int) -> Method:
        """Return the method as it is at meta-step ``step``; most never change."""
        found = self.estimator.at(step)
        return self if found is self.estimator else replace(self, estimator=found)

    def with_interaction(self, part: Interaction) -> Method:
        """Return the method with one more interaction, applied last."""
        return replace(self, interactions=(*self.interactions, part))

    def with_steps(self, steps: int | None) -> Method:
        """Return the method with another number of inner steps (None: the same)."""
        return self if steps is None else replace(self, rule=replace(self.rule, steps=steps))


@lru_cache(maxsize=64)
def _said(caveat: str) -> None:
    log.warning("%s: no number made with it reproduces the paper", caveat)


def caution(method: Method) -> None:
    """Log the method's caveats, each once in a process."""
    for caveat in method.caveats:
        _said(caveat)


def initialise(method: Method, objective: Objective, *, seed: int | None = None) -> MetaState:
    """Return the state before the first meta-step.

    Args:
        method: Its rule and interactions may bring learned tensors of their own.
        objective: Its model gives names, shapes, device and the starting weights.
        seed: Draw the trainable weights anew, by each module's ``reset_parameters``, without
            touching global randomness. None starts from the weights that the model has.

    Raises:
        UsageError: if the rule leaves nothing that moves.
    """
    trainable = objective.trainable() if seed is None else reinitialised(objective, seed)
    model = {k: v.detach().clone() for k, v in trainable.items()}
    moves, still = method.rule.divide(model, objective.groups)
    own, slots = method.rule.init(moves)
    found = {
        "rule": (own | method.rule.init_still(still, objective.groups), slots),
        "estimator": method.estimator.init(method, objective, seed or 0),
        "interaction": method.interaction.init(moves, method.rule.steps, objective, seed or 0),
    }
    params = tree.under(model, "model")
    running: Params = {}
    for owner, (learned, kept) in found.items():
        if learned and not method.estimator.takes_query:
            raise UsageError(
                f"{method.name} takes no query loss, so {sorted(learned)[0]!r} of its {owner} "
                "would never be learned: use maml() as the base method"
            )
        params |= tree.under(learned, owner)
        running |= tree.under(kept, owner)
    cloned = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in params.items()}
    return MetaState(cloned, running, 0)
