"""How much of the meta-gradient comes from CML's co-learner, over training.

    python experiments/cooperative_share.py --out results/cooperative

At some meta-steps the meta-gradient of the network is taken twice on the same tasks, with the
co-learner and without; the difference is the co-learner's part.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from cells import Cell
from cooperative import plan
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.plots import style

POINTS = 25


def vector(step: mc.MetaStep) -> Tensor:
    """Return the averaged meta-gradient of the network as one vector."""
    return torch.cat([v.flatten() for v in tree.scope(step.grads, "model").values()])


def measured(cell: Cell) -> list[dict[str, float]]:
    """Train a cell and return the co-learner's part along the way."""
    chosen = cell.experiment()
    objective, method = chosen.objective(), chosen.method
    bare = replace(method, interactions=())
    tasks = replace(chosen.tasks, seed=cell.seed)
    every, found = max(1, chosen.steps // POINTS), []
    options = {"steps": chosen.steps, "num_tasks": chosen.num_tasks, "seed": cell.seed}
    for record in mc.train(method, objective, tasks, outer=chosen.outer, **options):
        if record.step % every:
            continue
        episodes = tasks.episodes("validation", 1, range(chosen.num_tasks))
        own = {k: v for k, v in record.state.params.items() if k.startswith("model.")}
        whole = vector(mc.meta_gradient(method, objective, record.state, episodes))
        plain = record.state._replace(params=own)
        base = vector(mc.meta_gradient(bare, objective, plain, episodes))
        part = whole - base
        share = part.norm() / (part.norm() + base.norm())
        cosine = torch.nn.functional.cosine_similarity(part, base, dim=0)
        found.append({"step": record.step, "share": share.item(), "cosine": cosine.item()})
    return found


@style.styled
def picture(found: dict[str, list[list[dict[str, float]]]]) -> object:
    """Draw share and cosine for each family."""
    note = (
        f"{len(next(iter(found.values())))} seeds, thin lines; on validation tasks. Share: length "
        "of the co-learner's part over the sum of both lengths."
    )
    title = "The co-learner's part of the meta-gradient"
    figure, panels = style.canvas(title, note, (10.5, 4.2), columns=2)
    for colour, (family, runs) in zip(style.COLOURS, found.items(), strict=False):
        for panel, key in zip(panels, ("share", "cosine"), strict=True):
            for i, run in enumerate(runs):
                x = [point["step"] / run[-1]["step"] for point in run]
                label = family if i == 0 else None
                panel.plot(x, [point[key] for point in run], color=colour, lw=1.1, label=label)
    panels[0].set(xlabel="fraction of training", ylabel="share", ylim=(0, 1))
    panels[1].set(xlabel="fraction of training", ylabel="cosine to the base's part", ylim=(-1, 1))
    panels[0].set_ylim(0, 1)
    handles, labels = panels[0].get_legend_handles_labels()
    panels[1].legend(handles, labels, frameon=False, loc="lower right")
    return figure


def main() -> None:
    """Measure, write the record and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--what", nargs="+", default=["sine", "signs", "nodes"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = given.out / "share.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for what in given.what:
        for cell in plan(what, False, given.seeds):
            if cell.method == "maml" or cell.family.endswith(":gcn"):
                continue
            runs = found.setdefault(cell.family, [])
            if len(runs) <= cell.seed:
                runs.append(measured(cell))
                path.write_text(json.dumps(found) + "\n")
                print(cell.key, runs[-1][-1], flush=True)
    style.save(picture(found), given.out / "share")


if __name__ == "__main__":
    main()
