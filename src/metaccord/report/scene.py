"""What the computed parts of a report share: a state, ready to adapt test tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metaccord import tree
from metaccord.errors import MetaccordError
from metaccord.evaluate import isolated
from metaccord.experiment import Experiment
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.protocol import Protocol
from metaccord.stored import load_state
from metaccord.tasks.checks import checked
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.types import Adaptation, Episode, MetaState, Params
from metaccord.unroll import met

SHOWN_STEPS = 5  # inner steps that examples show at least, if the method takes more than trained


@dataclass(frozen=True, eq=False)
class Scene:
    """A run at one checkpoint.

    Attributes:
        experiment, state: As stored.
        objective: On the device, with a plan that draws no graph it does not need.
        protocol: How test tasks are drawn and measured; ``steps`` is filled in.
    """

    experiment: Experiment
    state: MetaState
    objective: Objective
    protocol: Protocol

    @property
    def method(self) -> Method:
        """As trained."""
        return self.experiment.method

    @property
    def source(self) -> TaskSource:
        """Test tasks come from here."""
        return replace(self.experiment.tasks, seed=self.protocol.seed)

    def episodes(self, count: int) -> Episode:
        """Return the first test tasks of the protocol, on the device."""
        found = checked(self.source, self.protocol.split, 0, range(count))
        place: Episode = tree.to(found, self.objective.place())
        return place

    def adapted(self, episodes: Episode) -> tuple[Adaptation, list[int], list[Params]]:
        """Return runs, numbers of inner steps and all tensors after each of them, ``[T, ...]``.

        Beyond the trained number of steps up to 5 are taken where the method can.
        """
        trained = self.method.rule.steps
        try:
            return self._adapted(episodes, max(trained, SHOWN_STEPS))
        except (MetaccordError, IndexError):
            return self._adapted(episodes, trained)

    def _adapted(self, episodes: Episode, steps: int) -> tuple[Adaptation, list[int], list[Params]]:
        method = self.method.with_steps(steps)
        run = isolated(method, self.objective, self.state, episodes)
        at = shown_steps(steps, self.method.rule.steps)
        stack = tree.expand(self.state.params, tree.tasks_in(episodes))
        with torch.no_grad():
            before = [met(method, stack, run, step) for step in at if step != steps]
        return run, at, [*before, run.solution]


def scene(run: Any, protocol: Protocol) -> Scene:
    """Return the newest intact checkpoint of a run, ready to be looked at.

    Args:
        run: Folder of the run.
        protocol: How test tasks are drawn and measured.

    Raises:
        CheckpointError: if no checkpoint is intact.
        DataError: if the data are missing.
    """
    experiment, state, _ = load_state(run)
    objective = experiment.objective()
    plan = replace(objective.plan, compile=False, checkpoint=False)
    steps = experiment.method.rule.steps if protocol.steps is None else protocol.steps
    return Scene(
        experiment, state, settled(objective.planned(plan)), replace(protocol, steps=steps)
    )


def untrained(found: Scene) -> MetaState:
    """Return the state before the first meta-step."""
    made = found.experiment
    return initialise(made.method, found.objective, seed=made.seed)


def shown_steps(steps: int, trained: int) -> list[int]:
    """Return at most eight numbers of inner steps, with 0, the trained number and the last."""
    if steps <= 7:
        return list(range(steps + 1))
    spread = {round(i * steps / 6) for i in range(7)}
    return sorted(spread | {0, 1, trained, steps})


def odds(outputs: Tensor) -> Tensor:
    """Return probabilities in float64, ``[n, ways]``."""
    return torch.softmax(outputs.double(), -1).cpu()


def rounded(values: Tensor, digits: int = 5) -> Any:
    """Return nested lists of numbers with so many significant digits."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(item) for item in value]
        return float(f"{value:.{digits}g}") if isinstance(value, float) else value

    return short(values.detach().double().cpu().tolist())
