"""What each method costs: seconds and peak bytes of one meta-step, relative to another.

    python benchmarks/cost.py --json results/cost/record.json

Base methods are compared with MAML (WarpGrad has its warp layers on top of the network), each
interaction with MAML without it, all in turns within one process. Memory is the peak of live tensor
bytes (an allocator's peak on a GPU).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import described, write
from race import race, ratio, spread

import metaccord as mc
from metaccord import methods, tree
from metaccord.interactions import GradientSharing
from metaccord.memory import keep_freed, peak_bytes
from metaccord.method import Method
from metaccord.tasks.stream import uniforms, words

CASES = ("sine", "conv4")


def contestants(steps: int, lr: float) -> dict[str, Method]:
    """Return MAML first, then the other bases, then each interaction over MAML."""
    base = methods.maml(steps, lr)
    found = {
        "maml": base,
        "fomaml": methods.fomaml(steps, lr),
        "reptile": methods.reptile(steps, lr, batch=None),
        "anil": methods.anil(steps, lr),
        "boil": methods.boil(steps, lr),
        "meta_sgd": methods.meta_sgd(steps, lr),
        "maml_pp": methods.maml_pp(steps, lr, horizon=10_000),
        "imaml": methods.imaml(steps, lr),
        "warp": methods.warp(steps, lr),
        "mgaug": methods.mgaug(steps, lr),
        "maml+agreement": methods.gradient_agreement(base),
        "maml+sharing": methods.gradient_sharing(base),
        "maml+sharing (per tensor)": methods.gradient_sharing(base, per="tensor"),
        "maml+sharing (differentiated)": base.with_interaction(GradientSharing(differentiate=True)),
        "maml+cooperative": methods.cooperative(base),
        "maml+coherent": methods.coherent(base),
    }
    together = base
    for name in ("agreement", "sharing", "cooperative", "coherent"):
        together = methods.WRAPPERS[name](together)
    return {**found, "maml with all four": together}


def problem(case: str, device: str, *, warp: bool) -> tuple[mc.Objective, mc.Episode, float]:
    """Return objective, episodes and inner rate; pictures are noise, which costs the same.

    ``warp`` adds warp layers to the network, which only WarpGrad can use.
    """
    if case == "sine":
        plan = mc.Plan(chunk="all")
        model = mc.models.MLP(hidden=(64, 64), activation="tanh", warp=warp)
        episodes = mc.tasks.Sinusoid().episodes("train", 0, range(25))
        return mc.Objective(model, mc.losses.mse, plan, device=device), episodes, 0.01
    raw = uniforms(words(0, "cost", 0, 0, 8 * 30 * 28 * 28)).reshape(8, 30, 1, 28, 28)
    pictures = torch.from_numpy(raw).float()
    labels = torch.arange(5).repeat(8, 1)
    support = mc.Batch(pictures[:, :5], labels)
    query = mc.Batch(pictures[:, 5:], labels.repeat_interleave(5, 1))
    model = mc.models.Conv4(5, warp=warp)
    plan = mc.Plan(chunk=1 if device == "cpu" else "all")
    objective = mc.Objective(model, mc.losses.cross_entropy, plan, device=device)
    return objective, mc.Episode(support, query, {"order": torch.arange(8)}), 0.1


def prepared(method: Method, objective: mc.Objective, episodes: mc.Episode) -> Callable[[], object]:
    """Return one meta-step, with history where the method keeps some."""
    state = mc.initialise(method, objective, seed=0)
    first = mc.meta_gradient(method, objective, state, episodes)
    return partial(
        mc.meta_gradient, method, objective, state._replace(running=first.running), episodes
    )


def measured(case: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the figures of one case, by contestant."""
    plain, _, lr = problem(case, options.device, warp=False)
    runs = {}
    for name, method in contestants(options.steps, lr).items():
        objective, episodes, _ = problem(case, options.device, warp=name == "warp")
        runs[name] = prepared(method, objective, tree.to(episodes, objective.place()))
    times = race(runs, options.rounds, options.device)
    peaks = {name: peak_bytes(run, plain.place()) for name, run in runs.items()}
    found = {}
    for name in runs:
        relative = ratio(times[name], times["maml"])
        found[name] = {
            "milliseconds": 1e3 * spread(times[name]).median,
            "times": relative.median,
            "low": relative.low,
            "high": relative.high,
            "mebibytes": peaks[name] / 2**20,
            "memory": peaks[name] / peaks["maml"],
        }
    return found


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--steps", type=int, default=3, help="inner steps")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()  # as the command line does
    record = described(options)
    for case in options.cases:
        record["cases"][case] = measured(case, options)
        print(f"\n{case}: {options.steps} inner steps, relative to MAML")
        for name, fact in record["cases"][case].items():
            print(
                f"  {name:30} {fact['milliseconds']:8.2f} ms  x {fact['times']:.2f} "
                f"({fact['low']:.2f} to {fact['high']:.2f})  {fact['mebibytes']:7.1f} MiB  "
                f"x {fact['memory']:.2f}"
            )
    write(record, options.json)


if __name__ == "__main__":
    main()
