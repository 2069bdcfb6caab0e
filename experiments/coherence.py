"""The trajectory regulariser of Guiroy et al. on Omniglot 20-way 1-shot, with and without it.

    python experiments/coherence.py omniglot20 --out results/coherence          # no verdict
    python experiments/coherence.py omniglot20 --out results/coherence --full   # about 5 hours

Published: 94.05 to 95.38 % (five trials of 600 tasks; settings unknown to us). Both methods meet
the same draws. The cut of at most 30 minutes prints curves and gives no verdict: it is too short.
"""

from __future__ import annotations

from cells import Cell, main

RATES = (0.01, 0.1, 0.5)
COMMON = [
    "tasks.ways=20",
    "model.ways=20",
    "tasks.queries=1",
    "rule.steps=5",
    "rule.lr=0.1",
    "plan.chunk=1",
    "checkpoint_every=200",
]
CUT = ["steps=300", "num_tasks=4", "model.hidden=32", "validate_every=50", "validation_tasks=20"]
FULL = ["steps=4500", "num_tasks=8", "validate_every=250", "validation_tasks=40"]
FULL += ["outer.schedule=cosine"]


def plan(what: str, full: bool, seeds: int) -> list[Cell]:
    """Return the cells: MAML, and the regulariser at three rates (with the default alone in full).

    The full recipe takes the rate 0.1, the default, with 3 seeds; the others only on a cut.
    """
    del what
    size, found = (FULL if full else CUT), []
    for seed in range(seeds or 3):
        name = "full" if full else "cut"
        found.append(Cell("omniglot", "maml", (*COMMON, *size), seed, name))
        for rate in (0.1,) if full else RATES:
            settings = (*COMMON, *size, f"coherent.rate={rate}")
            found.append(Cell("omniglot", "maml+coherent", settings, seed, f"{name}-{rate}"))
    return found


if __name__ == "__main__":
    main(__doc__ or "", plan, ["omniglot20"])
