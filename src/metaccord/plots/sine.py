"""Sine waves before and after a few gradient steps: Figure 1 of Gradient Agreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from metaccord import tree
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.method import Method
from metaccord.objective import Objective
from metaccord.plots import style
from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tuning import settled
from metaccord.types import Batch, Episode, MetaState
from metaccord.unroll import met

LOW, HIGH, POINTS = -5.0, 5.0, 201


class Learner(Protocol):
    """What was meta-trained: a method, its objective and its state."""

    @property
    def method(self) -> Method:
        """How it adapts."""

    @property
    def objective(self) -> Objective:
        """Model and criterion."""

    @property
    def state(self) -> MetaState:
        """Where it starts from."""


@style.styled
def adaptation(
    learners: Mapping[str, Learner],
    tasks: Sinusoid,
    *,
    steps: tuple[int, ...] = (0, 1, 5),
    task: int = 0,
) -> Figure:
    """Draw one unseen sine wave and what each learner makes of it after some gradient steps.

    Args:
        learners: By name, one panel each, for example ``"before training"`` and ``"reptile"``.
        tasks: Sine waves; the one drawn is test task ``task`` of their seed.
        steps: Numbers of gradient steps on the support points.
        task: Which test task.

    Raises:
        UsageError: without learners, or for a negative number of steps.

    Reference:
        Eshratifar, Eigen, Pedram, 2018, arXiv 1810.08178, Figure 1.
    """
    if not learners or not steps or min(steps) < 0:
        raise UsageError(
            f"learners={list(learners)} and steps={steps}: give at least one learner, and numbers "
            "of gradient steps of 0 or more"
        )
    steps = tuple(sorted(set(steps)))
    episodes = tasks.episodes("test", 0, range(task, task + 1))
    count = tree.tasks_in(tree.mapped(lambda leaf: leaf[0], episodes.support))
    queries = tree.tasks_in(tree.mapped(lambda leaf: leaf[0], episodes.query))
    figure, panels = style.canvas(
        f"An unseen sine wave, learned from {count} points",
        f"Test task {task}, the same in every panel; thin black line: the true wave; circles: the "
        f"support points. Curves: the model after 0 or more gradient steps on these points. "
        f"Loss: mean over {queries} query points of this task.",
        (1.4 + 3.4 * len(learners), 4.3),
        columns=len(learners),
        sharey=True,
    )
    chosen = style.colours(learners)
    reach = 1.1 * float(episodes.query.targets.abs().max()) + 0.3
    for axes, (name, learner) in zip(panels, learners.items(), strict=True):
        axes.set(xlim=(LOW, HIGH), ylim=(-reach, reach), xlabel="x")
        axes.set_title(style.words(name))
        _panel(axes, _curves(learner, episodes, steps), chosen[name])
        _task(axes, episodes)
    panels[0].set_ylabel("y")
    return figure


def _curves(
    learner: Learner, episodes: Episode, steps: tuple[int, ...]
) -> list[tuple[int, Tensor, float]]:
    """Return steps, predictions ``[POINTS]`` and query loss, for each number of steps."""
    objective = settled(learner.objective)
    device = objective.place()
    episodes = tree.to(episodes, device)
    run = isolated(learner.method.with_steps(steps[-1]), objective, learner.state, episodes)
    x = torch.linspace(LOW, HIGH, POINTS, device=device)[:, None]
    query = Batch(*tree.unbind(tuple(episodes.query))[0])
    stack, found = tree.expand(learner.state.params, 1), []
    for step in steps:
        last = step == steps[-1]
        params = tree.first(run.solution if last else met(learner.method, stack, run, step))
        with torch.no_grad():
            y = objective.predict(params, x)[:, 0].cpu()
            found.append((step, y, float(objective.loss(params, query))))
    return found


def _panel(axes: Axes, curves: list[tuple[int, Tensor, float]], colour: str) -> None:
    x = torch.linspace(LOW, HIGH, POINTS)
    ends = []
    dashes = [(0, (1, 1.2)), (0, (5, 2))]
    for i, (step, y, loss) in enumerate(curves):
        last = i == len(curves) - 1
        shade = style.mixed(colour, 0.0 if last else 0.45 - 0.25 * i / max(1, len(curves) - 1))
        dash = "solid" if last else dashes[i % 2]
        width = 2.6 if last else 1.8
        axes.plot(x, y, color=shade, ls=dash, lw=width, zorder=3, label=f"{step} steps")
        plural = "step" if step == 1 else "steps"
        ends.append((float(y[-1]), f"{step} {plural}\nloss {loss:.3g}", style.mixed(colour, 0.0)))
    style.label_ends(axes, ends, gap=0.055)


def _task(axes: Axes, episodes: Episode) -> None:
    """Draw the truth, exact between its points, and the support points."""
    x, y = (leaf[0, :, 0].double().cpu().numpy() for leaf in episodes.query[:2])
    basis, *_ = np.linalg.lstsq(np.stack([np.sin(x), np.cos(x)], 1), y, rcond=None)
    fine = np.linspace(LOW, HIGH, POINTS)
    truth = basis[0] * np.sin(fine) + basis[1] * np.cos(fine)
    axes.plot(fine, truth, color=style.INK, lw=1.0, zorder=2, label="truth")
    x, y = (leaf[0, :, 0].cpu().numpy() for leaf in episodes.support[:2])
    axes.plot(x, y, "o", ms=6, mfc="white", mec=style.INK, mew=1.4, zorder=4, label="support")
