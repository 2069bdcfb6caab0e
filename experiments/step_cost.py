"""Seconds of one meta-step for each method of an experiment, in turns within one process.

    python experiments/step_cost.py sharing omniglot5 --out results/sharing

Cells of an experiment may run beside each other, which spoils their clocks; this does not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from functools import partial
from pathlib import Path

import torch

import metaccord as mc

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from race import race, ratio, spread


def main() -> None:
    """Time, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("what")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cells = importlib.import_module(given.experiment).plan(given.what, given.full, 1)
    runs = {}
    for cell in cells:
        word = "additive" if "additive" in cell.name else cell.method
        if word in runs:
            continue
        chosen = cell.experiment()
        objective = chosen.objective()
        state = mc.initialise(chosen.method, objective, seed=0)
        episodes = chosen.tasks.episodes("train", 0, range(chosen.num_tasks))
        runs[word] = partial(mc.meta_gradient, chosen.method, objective, state, episodes)
    times = race(runs, given.rounds, "cpu")
    base = next(iter(runs))
    found = {}
    for word, seconds in times.items():
        relative = ratio(seconds, times[base])
        found[word] = {"milliseconds": 1e3 * spread(seconds).median, **relative._asdict()}
        print(f"{word}: {found[word]['milliseconds']:.1f} ms, {relative.median:.2f} times {base}")
    path = given.out / f"{given.what}-step.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
