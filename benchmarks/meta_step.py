"""Time one second-order MAML meta-step in metaccord, `higher` and `torchopt`, side by side.

    python benchmarks/meta_step.py [--cases sine conv28 ...] [--threads N] [--device cuda]

Every contestant starts from the same weights and data; first the meta-gradients are compared,
then those that agree are timed round robin. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import contest
import peers
import problems
import torch
from contest import COMPILED, EAGER, Entry
from machine import compiles, described, write
from ours import prepared
from race import Spread, race, ratio, spread

import metaccord as mc
from metaccord.memory import peak_bytes

Result = dict[str, Any]


def compare(problem: problems.Problem, libraries: dict[str, ModuleType], options: Any) -> Result:
    """Check and time all contestants on one problem."""
    plans = {EAGER: mc.Plan()}
    if problem.name == "sine":
        plans = {EAGER: mc.Plan(chunk="all")}
        if options.compile:
            plans[COMPILED] = mc.Plan(chunk="all", compile=True)
    plans = {name: prepared(problem, plan)[1] for name, plan in plans.items()}
    print("plans:", "; ".join(f"{name}: {plan}" for name, plan in plans.items()))
    loops_only = options.loops or (problem.large and options.device == "cpu")
    found = contest.entries(plans, libraries, loops_only=loops_only)
    steps, checks = checked(found, problem.double(2), problem, options.device)
    racing = contest.fastest(found, steps, options.device)
    times = race(racing, options.rounds or problem.rounds, options.device)
    owners = {entry.name: entry.library for entry in found}
    best = {
        library: min((n for n in times if owners[n] == library), key=lambda n: spread(times[n])[0])
        for library in {owners[n]: None for n in times if owners[n] != "metaccord"}
    }
    ratios = {
        f"{name} / {own}": ratio(times[name], times[own])
        for own in times
        if owners[own] == "metaccord"
        for name in best.values()
    }
    show_times(times)
    show_ratios(ratios)
    return {
        "plans": {name: repr(plan) for name, plan in plans.items()},
        "checks": checks,
        "ok": passed(checks, owners),
        "seconds": times,
        "fastest_idiom": best,
        "ratios": {name: value._asdict() for name, value in ratios.items()},
    }


def checked(
    found: list[Entry], exact: problems.Problem, problem: problems.Problem, device: str
) -> tuple[dict[str, peers.Step], dict[str, Any]]:
    """Compare a small problem in float64 and the whole one in float32; keep who agrees in both."""
    kinks = problem.name.startswith(("conv", "memory"))
    tolerance = contest.KINKS if kinks else contest.SINGLE
    _, double = contest.check(found, exact, contest.EXACT, device)
    still = contest.promising(found, double)
    steps, single = contest.check(still, problem, tolerance, device)
    print(f"{'meta-gradient':46} {'float64':>9} {'float32':>9}   first call")
    for entry in found:
        one, two = double[entry.name], single.get(entry.name)
        tail = f"{two['error']:9.1e} {two['first_call_s']:10.2f} s" if two else f"{'-':>9}"
        agrees = one["agrees"] and (two is None or two["agrees"])
        verdict = "" if two and agrees else "   too slow" if agrees else "   DIFFERS"
        print(f"  {entry.name:44} {one['error']:9.1e} {tail}{verdict}")
    return steps, {"float64": double, "float32": single}


def passed(checks: dict[str, Any], owners: dict[str, str]) -> bool:
    """Say whether all our entries, and for each peer at least one idiom, agree everywhere."""
    right = {name for name in owners if all(c.get(name, {}).get("agrees") for c in checks.values())}
    ours = {name for name, library in owners.items() if library == "metaccord"}
    return ours <= right and {owners[name] for name in right} == set(owners.values())


def agreement(options: Any) -> Result:
    """Time Gradient Agreement against the plain mean of the same rows."""
    runs = [("sine", problems.sine, mc.Plan(chunk="all")), ("conv28", problems.conv28, mc.Plan())]
    if options.compile:
        runs.insert(1, ("sine, compiled", problems.sine, mc.Plan(chunk="all", compile=True)))
    result: Result = {}
    for name, make, plan in runs:
        problem = make(options.quick).to(options.device)
        plain, chosen = prepared(problem, plan)
        weighed, _ = prepared(problem, chosen, agreement=True)
        pair = {"plain mean": plain, "agreement": weighed}
        times = race(pair, options.rounds or 2 * problem.rounds, options.device)
        cost = ratio(times["agreement"], times["plain mean"])
        print(f"{name}:")
        show_times(times)
        show_ratios({"agreement / plain mean": cost})
        result[name] = {"seconds": times, "ratio": cost._asdict()}
    return {"ok": True, **result}


def memory(libraries: dict[str, ModuleType], options: Any) -> Result:
    """Compare peak bytes, and seconds, of many inner steps on one task."""
    problem = problems.memory(options.quick).to(options.device)
    print(problem.text)
    plans = {
        "metaccord, checkpointed": mc.Plan(chunk=1, checkpoint=True),
        EAGER: mc.Plan(chunk=1),
    }
    found = contest.entries(plans, libraries, loops_only=options.device == "cpu")
    found = [e for e in found if "one backward" not in e.name]  # the same with one task
    exact = replace(problem, steps=min(3, problem.steps)).double(1)
    steps, checks = checked(found, exact, problem, options.device)
    owners = {entry.name: entry.library for entry in found}
    place = torch.device(options.device)
    held = {name: peak_bytes(step, place) for name, step in steps.items()}
    least = {
        library: min((n for n in held if owners[n] == library), key=lambda n: held[n])
        for library in {owners[n]: None for n in held if owners[n] != "metaccord"}
    }
    racing = {name: steps[name] for name in (*plans, *least.values()) if name in steps}
    times = race(racing, options.rounds or problem.rounds, options.device)
    first = next(iter(plans))
    for name in racing:
        print(
            f"  {name:44} {held[name] / 2**20:9.1f} MiB {held[name] / held[first]:7.2f} x"
            f" {spread(times[name]).median:9.2f} s"
        )
    return {
        "ok": passed(checks, owners),
        "checks": checks,
        "peak_bytes": held,
        "least_idiom": least,
        "seconds": times,
    }


def show_times(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        middle, low, high = (1e3 * value for value in spread(values))
        print(f"  {name:44} {middle:9.2f} ms  (IQR {low:.2f} to {high:.2f}, {len(values)} rounds)")


def show_ratios(ratios: dict[str, Spread]) -> None:
    for name, found in ratios.items():
        print(
            f"  {found.median:8.2f} x  {name}  (IQR by round {found.low:.2f} to {found.high:.2f})"
        )


PROBLEMS: dict[str, Callable[[bool], problems.Problem]] = {
    "sine": problems.sine,
    "conv28": problems.conv28,
    "conv28-pool": problems.conv28_pool,
    "conv84": problems.conv84,
}


def read_options(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [*PROBLEMS, "agreement", "memory"]
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE")
    parser.add_argument("--rounds", type=int, help="timed calls of each (default: by case)")
    parser.add_argument("--threads", type=int, help="of the processor (default: all)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--loops", action="store_true", help="peers loop over tasks, no vmap")
    parser.add_argument("--quick", action="store_true", help="tiny problems: a smoke test")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compiled ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    options = parser.parse_args(words)
    if options.rounds is not None and options.rounds < 2:
        parser.error(f"--rounds is {options.rounds}: quartiles need at least 2")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is cuda but torch finds none: use --device cpu")
    if options.compile is None:
        options.compile = not options.quick
    return options


def main(words: list[str] | None = None) -> int:
    """Run the chosen cases; return 1 if meta-gradients disagree."""
    options = read_options(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # or float32 agrees to three digits only
    options.compile = options.compile and compiles(options.device)
    record: Result = described(options)
    print(", ".join(f"{k} {v}" for k, v in record["machine"].items()))
    libraries = {}
    for name in peers.IDIOMS:
        module = peers.load(name)
        if module is None:
            print(f"{name}: not installed (pip install metaccord[bench])")
        else:
            libraries[name] = module
    for case in options.cases:
        print(f"\n== {case}")
        if case == "agreement":
            found = agreement(options)
        elif case == "memory":
            found = memory(libraries, options)
        else:
            problem = PROBLEMS[case](options.quick).to(options.device)
            print(problem.text)
            found = compare(problem, libraries, options)
        record["cases"][case] = found
    write(record, options.json)
    wrong = [case for case, found in record["cases"].items() if not found["ok"]]
    if wrong:
        print(f"\nmeta-gradients disagree: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
