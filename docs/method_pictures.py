"""Draw docs/pictures/methods/*.svg: each method beside MAML on sine waves, from real runs.

    python docs/method_pictures.py [NAME ...]

Five inner steps of 0.02 (iMAML: its defaults); seed 0; 1000 meta-steps (Reptile, whose steps take
a fraction of the time, 5000). The left panel is drawn over the fraction of training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import metaccord as mc
from metaccord import tree
from metaccord.defaults import default
from metaccord.evaluate import isolated
from metaccord.methods import BASES, WRAPPERS
from metaccord.plots import style

HERE = Path(__file__).parent / "pictures" / "methods"
STEPS = {"reptile": 5000}
INNER = ["rule.steps=5", "rule.lr=0.02"]
COLOURS = ("#8a8a8a", "#D55E00")
SHOTS, TASK = 10, 3


def trained(label: str) -> tuple[mc.Experiment, mc.MetaState, list[tuple[float, float]]]:
    """Train a method and return its last state and its validation losses along the way."""
    base, *interactions = label.split("+")
    inner = [] if base == "imaml" else INNER
    found = default("sinusoid", base, interactions).changed(["plan.chunk=all", *inner])
    steps = STEPS.get(base, 1000)
    objective, curve = found.objective(), []
    options: dict[str, Any] = {"steps": steps, "num_tasks": found.num_tasks, "seed": 0}
    for record in mc.train(found.method, objective, found.tasks, outer=found.outer, **options):
        if record.step % (steps // 20) == 0:
            protocol = mc.Protocol(tasks=200, split="validation")
            scores = mc.evaluate(found.method, objective, record.state, found.tasks, protocol)
            curve.append((record.step / steps, scores.loss.mean))
    return found, record.state, curve


def wave(found: mc.Experiment, state: mc.MetaState) -> tuple[mc.Episode, np.ndarray]:
    """Return one test task and the adapted network's answers to its queries."""
    episodes = found.tasks.episodes("test", 0, range(TASK, TASK + 1))
    objective = found.objective().planned(mc.Plan(chunk="all"))
    run = isolated(found.method, objective, state, episodes)
    with torch.no_grad():
        answers = objective.predict(tree.first(run.solution), episodes.query.inputs[0])
    return episodes, answers.squeeze(-1).numpy()


@style.styled
def picture(name: str, label: str, runs: dict[str, tuple[Any, Any, Any]]) -> Any:
    """Draw validation during training, and one task after adaptation."""
    words = style.words(label)
    note = (
        "Sine waves, 10-shot, 5 inner steps of 0.02 (iMAML: 8 steps), one seed; loss on 200 "
        "validation tasks; the task on the right was never seen."
    )
    figure, (left, right) = style.canvas(f"{words} on sine waves", note, (10.5, 3.9), columns=2)
    for colour, (other, (found, state, curve)) in zip(COLOURS, runs.items(), strict=False):
        shown = style.words(other)
        x, y = zip(*curve, strict=True)
        width = 4 if other == "maml" else 1.8  # lines that coincide are both seen
        left.plot(x, y, color=colour, label=shown, lw=width)
        episodes, answers = wave(found, state)
        at = episodes.query.inputs[0].squeeze(-1).numpy()
        order = np.argsort(at)
        right.plot(at[order], answers[order], color=colour, label=shown, lw=width)
    truth = episodes.query.targets[0].squeeze(-1).numpy()
    right.plot(at[order], truth[order], color=style.INK, lw=1, ls="--", label="truth")
    support = episodes.support
    right.plot(
        support.inputs[0].squeeze(-1), support.targets[0].squeeze(-1), "o", color=style.INK, ms=5,
        label="10 examples",
    )  # fmt: skip
    left.set(xlabel="fraction of training", ylabel="validation loss")
    right.set(xlabel="x", ylabel="y", title="A new task after adaptation")
    style.log_scale(left)
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def main() -> None:
    """Draw the pictures asked for, or all."""
    torch.set_num_threads(1)
    HERE.mkdir(parents=True, exist_ok=True)
    reference = trained("maml")
    for name in sys.argv[1:] or [*BASES, *WRAPPERS]:
        label = f"maml+{name}" if name in WRAPPERS else name
        runs = {"maml": reference}
        if name != "maml":
            runs[label] = trained(label)
        svg = style.encode(picture(name, label, runs), "svg")
        (HERE / f"{name}.svg").write_bytes(svg)
        print(name, flush=True)


if __name__ == "__main__":
    main()
