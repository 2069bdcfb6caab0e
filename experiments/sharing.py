"""Gradient Sharing: does it reach MAML's accuracy sooner, and bear larger inner rates?

    python experiments/sharing.py sine --out results/sharing            # minutes; resumable
    python experiments/sharing.py omniglot5 --out results/sharing
    python experiments/sharing.py omniglot20 --out results/sharing --full

For every inner rate MAML, MAML with convex sharing and with additive sharing are trained on the
same draws, and measured on the same validation tasks during training. The grids of rates were
fixed before the first run, except for 0.02 on sine waves: it was added for all forms, because the
best rates lay on both sides of it. `experiments/sharing_report.py` writes the tables and pictures.
"""

from __future__ import annotations

from cells import Cell, main

FORMS = {
    "maml": [],
    "maml+sharing": [],
    "additive": ["sharing.mode=additive"],
}
RATES = {
    "sine": (0.003, 0.01, 0.02, 0.03, 0.1, 0.3),
    "omniglot5": (0.1, 0.4, 1.0, 2.0),
    "omniglot20": (0.1, 0.4, 1.0),
}
SETTINGS = {
    "sine": ["rule.steps=3", "plan.chunk=all", "validation_tasks=200"],
    "omniglot5": ["rule.steps=1", "tasks.queries=5", "num_tasks=8", "plan.chunk=1"],
    "omniglot20": [
        "rule.steps=1",
        "tasks.ways=20",
        "model.ways=20",
        "tasks.queries=2",
        "num_tasks=4",
        "plan.chunk=1",
    ],
}
CUT = {
    "sine": ["steps=1500", "validate_every=25"],
    "omniglot5": ["steps=500", "validate_every=20", "model.hidden=32", "validation_tasks=50"],
    "omniglot20": ["steps=250", "validate_every=20", "model.hidden=32", "validation_tasks=20"],
}
FULL = {
    "sine": ["steps=10000", "validate_every=50"],
    "omniglot5": ["steps=4000", "validate_every=50"],
    "omniglot20": ["steps=4000", "validate_every=50", "validation_tasks=40"],
}


def plan(what: str, full: bool, seeds: int) -> list[Cell]:
    """Return the cells: rates x forms x seeds."""
    family = "sinusoid" if what == "sine" else "omniglot"
    common = [*SETTINGS[what], *(FULL if full else CUT)[what], "checkpoint_every=1000"]
    found = []
    for seed in range(seeds or 5):
        for rate in RATES[what]:
            for form, extra in FORMS.items():
                label = "maml+sharing" if form == "additive" else form
                settings = (*common, f"rule.lr={rate}", *extra)
                name = f"{'full' if full else 'cut'}-lr-{rate}"
                name += "-additive" if form == "additive" else ""
                found.append(Cell(family, label, settings, seed, name))
    return found


if __name__ == "__main__":
    main(__doc__ or "", plan, list(RATES))
