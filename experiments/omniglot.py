"""Omniglot on two cores: 5-way 1-shot MAML with and without agreement, and a 20-way model.

    python experiments/omniglot.py maml results/omniglot          # 5-way 1-shot, second order
    python experiments/omniglot.py maml+agreement results/omniglot
    python experiments/omniglot.py background results/omniglot    # 20-way, background set only

Each writes one JSON record: command, seed, protocol, versions, hardware, seconds of training, and
scores under the three protocols. Runs go to runs/omniglot-* and are resumed if interrupted.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import metaccord as mc
from metaccord.defaults import default
from metaccord.experiment import Experiment

FIVE_WAY = ["num_tasks=16", "steps=4000", "outer.schedule=cosine", "plan.chunk=1"]
TWENTY_WAY = [
    "tasks.ways=20",
    "model.ways=20",
    "tasks.queries=2",
    "tasks.partition=background",
    "num_tasks=8",
    "steps=4000",
    "outer.schedule=cosine",
    "plan.chunk=1",
]
PROTOCOLS = ("transductive", "inductive", "frozen")


def experiment(name: str, seed: int) -> Experiment:
    """Return what ``name`` trains."""
    if name == "background":
        return default("omniglot").changed([*TWENTY_WAY, f"seed={seed}"])
    base, *interactions = name.split("+")
    return default("omniglot", base, interactions).changed([*FIVE_WAY, f"seed={seed}"])


def measure(learner: mc.Learner, tasks: mc.tasks.TaskSource, count: int) -> dict:
    """Return scores by protocol after 1 to 5 inner steps."""
    found = {}
    for statistics in PROTOCOLS:
        most = 5 if statistics == "transductive" else 3
        for steps in (1, 3, 5)[: 3 if most == 5 else 2]:
            protocol = mc.Protocol(statistics=statistics, tasks=count, steps=steps)
            scores = mc.evaluate(learner.method, learner.objective, learner.state, tasks, protocol)
            print(scores, flush=True)
            found[str(scores.protocol)] = scores.json()
    return found


def main() -> None:
    """Train, measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("maml", "maml+agreement", "background"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = experiment(given.name, given.seed)
    folder = Path("runs") / f"omniglot-{given.name}-{given.seed}"
    resume = (folder / "run.json").exists()
    start = time.perf_counter()
    for record in mc.run(chosen, folder, resume=resume):
        if record.step % 100 == 0:
            print(
                record.step,
                f"{record.loss:.3f}",
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
    seconds = time.perf_counter() - start
    learner = mc.load(folder)
    scores = measure(learner, chosen.tasks, 600)
    runs = {}
    if given.name == "background":
        runs = measure(learner, mc.tasks.OneShotRuns(), 20)
    given.out.mkdir(parents=True, exist_ok=True)
    found = {
        "command": f"python experiments/omniglot.py {given.name} {given.out} --seed {given.seed}",
        "date": time.strftime("%Y-%m-%d"),
        "experiment": chosen.tree(),
        "seconds_of_training": round(seconds),
        "resumed": resume,
        "scores": scores,
        "official_one_shot_runs": runs,
        "versions": {"torch": torch.__version__, "metaccord": mc.__version__},
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} thread of 2 cores",
    }
    path = given.out / f"{given.name}-seed-{given.seed}.json"
    path.write_text(json.dumps(found, indent=1))
    print(path)


if __name__ == "__main__":
    main()
