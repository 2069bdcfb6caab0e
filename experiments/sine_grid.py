"""Reptile against Gradient Agreement on sine waves: 24 settings, screened with one seed.

The paper reports 0.13 and 0.08 (10 points, 5 gradient steps, MLP 1-64-64-1, 1000 unseen tasks)
and leaves activation, rates, meta-batch and iterations open. This grid was fixed before the first
run. Each setting trains both methods on the same draws for 30,000 meta-steps.

    python experiments/sine_grid.py --out results/sine/grid.jsonl             # resumable
    python experiments/sine_grid.py --out results/sine/seeds.jsonl --settings 2,10 --seeds 1,2
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from pathlib import Path

import torch

import metaccord as mc

GRID = [
    {"activation": a, "outer": o, "inner": i, "num_tasks": n}
    for a, o, i, n in itertools.product(("tanh", "relu"), (0.1, 0.3, 1.0), (0.01, 0.02), (5, 10))
]
STEPS = 30_000
TRACE = 250  # meta-steps between kept records


def run(setting: dict, method: str, seed: int, steps: int) -> dict:
    """Train one method at one setting and measure it; see the module's docstring."""
    tasks = mc.tasks.Sinusoid(shots=10, train_shots=50, seed=seed)
    model = mc.models.MLP(1, (64, 64), 1, activation=setting["activation"])
    objective = mc.Objective(model, mc.losses.mse, mc.Plan(chunk="all", compile=True))
    rule = mc.methods.reptile(5, setting["inner"], batch=10)
    chosen = mc.methods.gradient_agreement(rule) if method == "reptile+agreement" else rule
    outer = mc.Outer(optimizer="sgd", lr=setting["outer"], schedule="linear")
    start, trace = time.perf_counter(), []
    options = {"steps": steps, "num_tasks": setting["num_tasks"], "outer": outer, "seed": seed}
    watch, warned = mc.Watch(), []
    for record in mc.train(chosen, objective, tasks, **options):
        warned += [record.step] if watch(record) else []
        if record.step % TRACE == 0:
            kept = {k: v for k, v in record.json().items() if k != "agreement.weights"}
            trace.append({k: round(v, 5) for k, v in kept.items()})
    seconds = time.perf_counter() - start
    protocol = mc.Protocol(tasks=1000, steps=5, seed=0)
    scores = mc.evaluate(chosen, objective, record.state, tasks, protocol, at=(0, 1, 5))
    return {
        "setting": setting,
        "method": chosen.label,
        "seed": seed,
        "steps": steps,
        "seconds": round(seconds, 1),
        "scores": scores.json(),
        "warned": warned,
        "trace": trace,
        "versions": {"torch": torch.__version__, "metaccord": mc.__version__},
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} thread",
    }


def main() -> None:
    """Run what is missing in the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--settings", default=",".join(map(str, range(len(GRID)))))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    done = {(r["index"], r["method"], r["seed"]) for r in map(json.loads, lines)}
    seeds, chosen = ([int(x) for x in g.split(",")] for g in (given.seeds, given.settings))
    for seed, index, method in itertools.product(seeds, chosen, ("reptile", "reptile+agreement")):
        if (index, method, seed) in done:
            continue
        result = {"index": index, **run(GRID[index], method, seed, given.steps)}
        with given.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(
            index,
            GRID[index],
            method,
            seed,
            result["scores"]["loss"],
            result["seconds"],
            flush=True,
        )


if __name__ == "__main__":
    main()
