"""Write results/sine/README.md from the records of sine_grid.py: the grid whole, then the seeds.

python experiments/sine_report.py results/sine
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from metaccord.plots import style
from metaccord.statistics import over_seeds

TICKS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10]
PUBLISHED = {"reptile": 0.13, "reptile+agreement": 0.08}
Rows = dict[tuple[int, str], list[dict]]


def read(path: Path) -> Rows:
    """Return the records by setting and method."""
    found: Rows = defaultdict(list)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found[record["index"], record["method"]].append(record)
    return found


def loss(record: dict) -> float:
    """Return the mean query loss after 5 steps."""
    return record["scores"]["loss"]["mean"]


def stretch(record: dict) -> float:
    """Return the geometric mean of the stretch over the last third of the kept records."""
    kept = [r["agreement.stretch"] for r in record["trace"]]
    tail = kept[-len(kept) // 3 :]
    return math.exp(sum(math.log(max(x, 1e-9)) for x in tail) / len(tail))


def grid_table(rows: Rows) -> list[str]:
    """Return the screening table: one seed, interval over 1000 tasks."""
    lines = [
        "| # | activation | outer | inner | tasks | Reptile | Agreement | ratio | stretch "
        "| warned |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for index in sorted({index for index, _ in rows}):
        base, ours = rows[index, "reptile"][0], rows[index, "reptile+agreement"][0]
        s = base["setting"]
        cells = [f"{loss(r):.4f} ± {r['scores']['loss']['half']:.4f}" for r in (base, ours)]
        warned = f"step {ours['warned'][0]}" if ours["warned"] else ""
        lines.append(
            f"| {index} | {s['activation']} | {s['outer']} | {s['inner']} | {s['num_tasks']} | "
            f"{cells[0]} | {cells[1]} | {loss(ours) / loss(base):.2f} | {stretch(ours):.1f} | "
            f"{warned} |"
        )
    return lines


def seed_table(rows: Rows) -> list[str]:
    """Return the chosen settings with new seeds: Student's t over seeds, paired difference."""
    lines = [
        "| # | seeds | Reptile | holds 0.13 | Agreement | holds 0.08 | agreement minus Reptile |",
        "|---|---|---|---|---|---|---|",
    ]
    for index in sorted({index for index, _ in rows}):
        found, cells = {}, []
        for method, published in PUBLISHED.items():
            runs = sorted(rows[index, method], key=lambda r: r["seed"])
            found[method] = [loss(r) for r in runs]
            interval = over_seeds(found[method])
            holds = "yes" if interval.low <= published <= interval.high else "no"
            cells += [f"{interval.mean:.4f} ± {interval.half:.4f}", holds]
        gap = over_seeds([b - a for a, b in zip(*found.values(), strict=True)])
        clear = " *" if abs(gap.mean) > gap.half else ""
        lines.append(
            f"| {index} | {len(runs)} | {' | '.join(cells)} | "
            f"{gap.mean:+.4f} ± {gap.half:.4f}{clear} |"
        )
    return lines


def picture(rows: Rows) -> Figure:
    """Draw every setting as a point: Reptile's loss against agreement's."""
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for activation, marker in (("tanh", "o"), ("relu", "s")):
        chosen = [i for i, m in rows if m == "reptile"]
        chosen = [i for i in chosen if rows[i, "reptile"][0]["setting"]["activation"] == activation]
        x = [loss(rows[i, "reptile"][0]) for i in chosen]
        y = [loss(rows[i, "reptile+agreement"][0]) for i in chosen]
        axes.plot(x, y, marker, ms=8, alpha=0.8, label=activation)
        for i, a, b in zip(chosen, x, y, strict=True):
            axes.annotate(str(i), (a, b), (5, 4), textcoords="offset points", fontsize=8)
    ends = [0.01, 10]
    axes.plot(ends, ends, color=style.INK, lw=0.8)
    axes.annotate("equal", (4, 4), (-6, 8), textcoords="offset points", ha="right", fontsize=9)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axes.set_xlabel("Reptile: query loss after 5 steps")
    axes.set_ylabel("Gradient Agreement: query loss after 5 steps")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(TICKS))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_title("Below the line agreement wins (one seed per setting)", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    """Write tables and picture; the text between them is kept in discussion.md."""
    folder = Path(sys.argv[1])
    grid, example = read(folder / "grid.jsonl"), None
    example = next(iter(grid.values()))[0]
    style.save(picture(grid), folder / "grid")
    parts = [
        "# Sine waves: Reptile against Gradient Agreement",
        "10 points, 5 gradient steps, MLP 1-64-64-1, mean squared error on 50 grid points, 1000 "
        "unseen tasks, the same for all. 30,000 meta-steps, outer step decayed linearly to 0. The "
        "paper reports 0.13 (Reptile) and 0.08 (Gradient Agreement) and leaves the settings open. "
        f"float32, torch {example['versions']['torch']}, {example['hardware']}.",
        "## Screening: the grid whole, seed 0",
        "`python experiments/sine_grid.py --out results/sine/grid.jsonl`; intervals over tasks. "
        "Stretch: length of agreement's step relative to the mean displacement, late in training.",
        "\n".join(grid_table(grid)),
        "![Each setting as a point](grid.png)",
    ]
    if (folder / "seeds.jsonl").exists():
        parts += [
            "## Chosen settings, new seeds",
            "`python experiments/sine_grid.py --out results/sine/seeds.jsonl --settings ... "
            "--seeds 1,2,3,4,5`; 95 % intervals by Student's t over seeds, differences paired by "
            "seed; * the interval leaves out 0.",
            "\n".join(seed_table(read(folder / "seeds.jsonl"))),
        ]
    if (folder / "discussion.md").exists():
        parts.append((folder / "discussion.md").read_text().strip())
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
