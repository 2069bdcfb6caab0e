"""CML against its base method on the same episodes: sine, Omniglot, hand signs, graph nodes.

    python experiments/cooperative.py sine --out results/cooperative       # minutes; resumable
    python experiments/cooperative.py omniglot5 --out results/cooperative
    python experiments/cooperative.py signs --out results/cooperative
    python experiments/cooperative.py nodes --out results/cooperative

As in CML's code, the inner loop moves scale and shift of BatchNorm, too, for both methods.
`experiments/cooperative_report.py` writes the tables and pictures.
"""

from __future__ import annotations

from cells import Cell, main

FAMILIES = {
    "sine": {"sinusoid": ["plan.chunk=all", "validation_tasks=200"]},
    "omniglot5": {"omniglot": ["plan.chunk=1", "num_tasks=8", "rule.never=[]"]},
    "signs": {"sign_digits": ["plan.chunk=1", "num_tasks=8", "rule.never=[]"]},
    "nodes": {
        f"graph:{graph}:{model}": ["plan.chunk=all", "num_tasks=8"]
        for graph in ("cora_ml", "coauthor_cs", "amazon_computers")
        for model in ("sgc", "gcn")
    },
}
CUT = {
    "sine": ["steps=3000", "validate_every=100"],
    "omniglot5": ["steps=800", "validate_every=100", "model.hidden=32", "validation_tasks=50"],
    "signs": ["steps=600", "validate_every=50", "model.hidden=32", "validation_tasks=50"],
    "nodes": ["steps=60", "validate_every=10", "validation_tasks=50"],
}
FULL = {
    "sine": ["steps=30000", "validate_every=500"],
    "omniglot5": ["steps=6000", "validate_every=200"],
    "signs": ["steps=3000", "validate_every=100"],
    "nodes": ["steps=500", "validate_every=25"],
}


def plan(what: str, full: bool, seeds: int) -> list[Cell]:
    """Return the cells: families x with and without co-learner x seeds."""
    size = (FULL if full else CUT)[what]
    found = []
    for seed in range(seeds or 5):
        for family, settings in FAMILIES[what].items():
            for label in ("maml", "maml+cooperative"):
                name = f"{'full' if full else 'cut'}-{family}"
                found.append(Cell(family, label, (*settings, *size), seed, name))
    return found


if __name__ == "__main__":
    main(__doc__ or "", plan, list(FAMILIES))
