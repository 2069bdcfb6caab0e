"""``metaccord demo``: Reptile against Gradient Agreement on sine waves."""

from __future__ import annotations

from pathlib import Path

from metaccord.cli.compare import folder_of, trained
from metaccord.cli.options import Settings
from metaccord.cli.tables import show
from metaccord.protocol import Protocol

METHODS = ["reptile", "reptile+agreement"]
SETTINGS = [
    "steps=10000",
    "num_tasks=5",
    "plan.compile=true",
    "plan.chunk=all",
    "checkpoint_every=2500",
]


def demo(*, out: Path = Path("demo"), seeds: int = 3, set: Settings = ()) -> int:
    """Compare Reptile with Gradient Agreement on sine waves, on the same draws, and draw both.

    Args:
        out: Folder for runs and pictures.
        seeds: Number of seeds.
        set: Settings for all runs, as name=value.
    """
    protocol = Protocol(tasks=1000, steps=5)
    results, code = trained("sinusoid", METHODS, seeds, [*SETTINGS, *set], out / "runs", protocol)
    if code:
        return code
    show(results, str(results[METHODS[0]][0].protocol))
    from metaccord.plots.of_runs import of_comparison  # matplotlib is heavy

    runs = out / "runs"
    folders = {m: [folder_of(runs, m, seed) for seed in range(seeds)] for m in METHODS}
    for path in of_comparison(folders, results, out):
        print(f"picture: {path}")
    return 0
