"""What one meta-step costs: passes through the model, memory at its peak.

Legend: T tasks of a meta-step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from metaccord import tree
from metaccord.engine import Plan, Scalar
from metaccord.memory import peak_bytes
from metaccord.report.scene import Scene
from metaccord.step import meta_gradient
from metaccord.tasks.checks import checked
from metaccord.types import Stacked, Tree


@dataclass(frozen=True)
class CountedPlan(Plan):
    """A plan that counts what goes through it.

    Attributes:
        counts: ``forward``: passes of one task through what is mapped over tasks; ``backward``:
            gradients with respect to one task's tensors.
    """

    counts: dict[str, int] = field(default_factory=lambda: {"forward": 0, "backward": 0})

    def over_tasks(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Count one forward pass per task and call."""
        inner = super().over_tasks(fn)

        def counted(*args: Tree) -> Tree:
            self.counts["forward"] += tree.tasks_in(args)
            return inner(*args)

        return counted

    def rows(
        self, fn: Callable[[Stacked], Scalar], at: Stacked, *, create_graph: bool
    ) -> tuple[Stacked, Tree]:
        """Count one backward pass per task and call."""
        self.counts["backward"] += tree.tasks_in(at)
        return super().rows(fn, at, create_graph=create_graph)


def costs(scene: Scene) -> dict[str, Any]:
    """Return passes per task and peak memory of one meta-step on the machine at hand.

    Args:
        scene: The run; its plan is taken with all tasks of a meta-step.
    """
    made = scene.experiment
    tasks = made.num_tasks
    source = replace(made.tasks, seed=made.seed)
    found = checked(source, "train", scene.state.step, range(tasks))
    episodes = tree.to(found, scene.objective.place())
    plan = CountedPlan(**{k: getattr(scene.objective.plan, k) for k in Plan.__dataclass_fields__})
    objective = scene.objective.planned(plan)

    def step() -> None:
        meta_gradient(made.method, objective, scene.state, episodes)

    peak = peak_bytes(step, scene.objective.place())
    counts = {k: v / tasks for k, v in plan.counts.items()}
    return {"device": scene.objective.place().type, "tasks": tasks, "peak_bytes": peak, **counts}
