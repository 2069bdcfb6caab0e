"""What the look at model, loss and tasks before each training costs, beside 1,000 meta-steps.

    python benchmarks/preflight.py [--json FILE]

The check runs in the training itself and is timed there; the time of a step is the median of 30.
Modules that torch imports at the first derivative are loaded before: a training needs them anyway.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import described, write

import metaccord as mc
from metaccord.defaults import default

STEPS, BOUND = 1000, 0.02
CASES = {
    "sinusoid, maml": ("sinusoid", "maml", ()),
    "sinusoid, all four": (
        "sinusoid",
        "maml",
        ("agreement", "sharing", "cooperative", "coherent"),
    ),
    "sinusoid, reptile": ("sinusoid", "reptile", ()),
    "omniglot, maml": ("omniglot", "maml", ()),
    "omniglot, maml with agreement": ("omniglot", "maml", ("agreement",)),
    "sign_digits, maml_pp": ("sign_digits", "maml_pp", ()),
}


def measured(tasks: str, base: str, extra: tuple[str, ...], steps: int = 30) -> dict[str, float]:
    """Return the seconds of the check, of a step, and the share of the check in a long run."""
    experiment = default(tasks, base, list(extra))
    module: Any = sys.modules["metaccord.train"]  # the function of that name hides it
    look, spent = module._inspected, []

    def timed(*given: Any) -> Any:
        start = time.perf_counter()
        found = look(*given)
        spent.append(time.perf_counter() - start)
        return found

    module._inspected = timed
    try:
        records = [
            record.seconds
            for record in mc.train(
                experiment.method, experiment.objective(), experiment.tasks,
                steps=steps, num_tasks=experiment.num_tasks, outer=experiment.outer,
            )
        ]  # fmt: skip
    finally:
        module._inspected = look
    step = median(records)
    return {"check_s": spent[0], "step_s": step, "share": spent[0] / (spent[0] + STEPS * step)}


def main() -> int:
    """Measure, print, record; return 1 if a share is above the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = described(options)
    measured("sinusoid", "maml", (), steps=1)
    for name, case in CASES.items():
        found = record["cases"][name] = measured(*case)
        print(
            f"{name:32} check {found['check_s']:6.3f} s, step {1e3 * found['step_s']:7.1f} ms: "
            f"{100 * found['share']:.2f} % of {STEPS} steps",
            flush=True,
        )
    write(record, options.json)
    return int(any(found["share"] > BOUND for found in record["cases"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
