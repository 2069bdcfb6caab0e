"""What Gradient Agreement collapses to with ReLU and a large outer step (setting 23 of the grid).

    python experiments/sine_collapse.py results/sine/collapse.json

Trains Reptile and agreement on the same draws and looks, every 250 steps, at the last hidden
layer and at the tasks' displacements: the share of units that no input of the grid activates, the
share of the squared displacement that lies in the last bias, the mean cosine between tasks, and
the length of the meta-step before its step size.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import metaccord as mc
from metaccord import tree

STEPS, EVERY, HORIZON = 4000, 250, 30_000


def look(objective: mc.Objective, step: mc.MetaStep, state: mc.MetaState) -> dict[str, float]:
    """Return the numbers of one moment."""
    params = tree.scope(state.params, "model")
    x = torch.linspace(-5, 5, 200)[:, None]
    hidden = torch.func.functional_call(objective.model.body, tree.scope(params, "body"), (x,))
    moved = tree.difference(step.run.initial, step.run.adapted)
    flat = tree.flat(moved)
    unit = flat / flat.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    count = len(cosines)
    bias = (moved["head.bias"] ** 2).sum() / (flat**2).sum()
    return {
        "dead_units": float((hidden <= 0).all(0).float().mean()),
        "share_of_last_bias": float(bias),
        "mean_abs_cosine": float((cosines.abs().sum() - count) / (count * (count - 1))),
        "mean_displacement": float(flat.mean(0).norm()),
        "step_length": float(torch.cat([g.flatten() for g in step.grads.values()]).norm()),
    }


def main() -> None:
    """Train both and write the record."""
    torch.set_num_threads(1)
    found = {}
    for label in ("reptile", "reptile+agreement"):
        method = mc.methods.reptile(5, 0.02)
        if "agreement" in label:
            method = mc.methods.gradient_agreement(method)
        tasks = mc.tasks.Sinusoid(train_shots=50)
        model = mc.models.MLP(1, (64, 64), 1, activation="relu")
        objective = mc.Objective(model, mc.losses.mse, mc.Plan(chunk="all"))
        outer = mc.Outer(optimizer="sgd", lr=1.0, schedule="linear", horizon=HORIZON)
        found[label] = []
        options = {"steps": STEPS, "num_tasks": 10, "outer": outer, "seed": 0}
        for record in mc.train(method, objective, tasks, **options):
            if record.step % EVERY == 0:
                episodes = tasks.episodes("validation", record.step, range(10))
                step = mc.meta_gradient(method, objective, record.state, episodes)
                found[label].append({"step": record.step, **look(objective, step, record.state)})
                print(label, found[label][-1], flush=True)
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
