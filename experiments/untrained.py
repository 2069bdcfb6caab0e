"""What the untrained networks of cooperative.py reach: the floor that meta-training has to beat.

python experiments/untrained.py nodes signs omniglot5 sine --out results/cooperative
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from cooperative import FAMILIES, plan

import metaccord as mc


def main() -> None:
    """Measure the initial states of all seeds and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=list(FAMILIES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = given.out / "untrained.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for what in given.what:
        for cell in plan(what, False, given.seeds):
            if cell.method != "maml":
                continue
            chosen = cell.experiment()
            objective = chosen.objective()
            state = mc.initialise(chosen.method, objective, seed=cell.seed)
            protocol = mc.Protocol(tasks=given.tasks)
            scores = mc.evaluate(chosen.method, objective, state, chosen.tasks, protocol)
            mean = scores.loss.mean if scores.accuracy is None else 100 * scores.accuracy.mean
            found.setdefault(cell.family, {})[str(cell.seed)] = mean
            path.write_text(json.dumps(found, indent=1) + "\n")
        print(what, {k: list(v.values()) for k, v in found.items()}, flush=True)


if __name__ == "__main__":
    main()
