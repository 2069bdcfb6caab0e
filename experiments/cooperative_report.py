"""Write results/cooperative/README.md and its picture from the records of cooperative.py.

python experiments/cooperative_report.py results/cooperative
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from cells import Line, known
from matplotlib.figure import Figure

from metaccord.plots import bands, style
from metaccord.statistics import Interval, over_seeds

TITLES = {
    "sine": "Sine waves, 10-shot regression",
    "omniglot5": "Omniglot, 5-way 1-shot",
    "signs": "Colour hand signs, 5-way 1-shot",
    "nodes": "Nodes of graphs, 2-way 3-shot",
}
METHODS = {"maml": "MAML", "maml+cooperative": "CML"}
COLOURS = {"maml": "#008F6B", "maml+cooperative": "#D55E00"}
Pairs = dict[str, dict[str, list[Line]]]


def pairs(found: list[Line]) -> Pairs:
    """Return the lines by family and method, in the order of their seeds."""
    table: Pairs = defaultdict(lambda: defaultdict(list))
    for line in sorted(found, key=lambda line: line["seed"]):
        table[line["family"]][line["method"]].append(line)
    return table


def mean(line: Line) -> float:
    """Return test accuracy in percent, or loss."""
    scores = line["scores"]
    return 100 * scores["accuracy"]["mean"] if "accuracy" in scores else scores["loss"]["mean"]


def shown(interval: Interval, sign: str = "") -> str:
    """Return mean and half-width."""
    return f"{interval.mean:{sign}.4g} ± {interval.half:.2g}"


def table(found: Pairs, floor: dict[str, dict[str, float]]) -> list[str]:
    """Return results of both methods and the paired difference, over seeds."""
    rows = [
        "| tasks | seeds | untrained, adapted | MAML | CML | CML minus MAML, paired |",
        "|---|---|---|---|---|---|",
    ]
    for family, methods in sorted(found.items()):
        values = {name: [mean(line) for line in methods[name]] for name in METHODS}
        gaps = [b - a for a, b in zip(values["maml"], values["maml+cooperative"], strict=True)]
        gap = over_seeds(gaps)
        clear = " *" if abs(gap.mean) > gap.half else ""
        cells = [shown(over_seeds(values[name])) for name in METHODS]
        start = shown(over_seeds(list(floor[family].values())))
        rows.append(
            f"| {family} | {len(gaps)} | {start} | {' | '.join(cells)} | {shown(gap, '+')}{clear} |"
        )
    return rows


@style.styled
def picture(title: str, found: Pairs) -> Figure:
    """Draw validation during training, a panel for each family."""
    lines = next(iter(next(iter(found.values())).values()))
    more = "accuracy" in lines[0]["scores"]
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    note = f"{len(lines)} seeds, bands are 95 % intervals over seeds; transductive."
    figure, panels = style.canvas(
        f"{title}: CML against MAML", note, (4.6 * columns + 1.5, 3.6 * rows + 0.6),
        rows=rows, columns=columns,
    )  # fmt: skip
    for panel, (family, methods) in zip(panels, sorted(found.items()), strict=False):
        for method, name in METHODS.items():
            runs = np.array([[value for _, _, value in line["curve"]] for line in methods[method]])
            x = [step for step, _, _ in methods[method][0]["curve"]]
            band, factor = bands.band(runs), 100 if more else 1
            panel.plot(x, factor * band.mean, color=COLOURS[method], label=name)
            low, high = factor * band.low, factor * band.high
            panel.fill_between(x, low, high, color=COLOURS[method], alpha=0.15, lw=0)
        unit = "validation accuracy, %" if more else "validation loss"
        panel.set(title=family, xlabel="meta-step", ylabel=unit)
        if not more:
            style.log_scale(panel)
    panels[0].legend(frameon=False)
    return figure


def main() -> None:
    """Write tables and pictures; the text between them is kept in discussion.md."""
    folder = Path(sys.argv[1])
    parts = [
        "# CML against MAML on the same episodes",
        "A co-learner without inner update augments the meta-gradient (weight 1) and is removed "
        "after training. For both methods the inner loop moves scale and shift of BatchNorm, as in "
        "CML's code. The paper's numbers are not known to us; these are our settings. Intervals "
        "are 95 %, Student's t over seeds; * the interval leaves out 0. The floor is an untrained "
        "network after the same inner steps (`python experiments/untrained.py ...`).",
    ]
    floor = json.loads((folder / "untrained.json").read_text())
    for what, title in TITLES.items():
        lines = known(folder / f"{what}.jsonl")
        if not lines:
            continue
        found, one = pairs(lines), lines[0]
        style.save(picture(title, found), folder / what)
        unit = "test accuracy, %" if "accuracy" in one["scores"] else "test loss"
        parts += [
            f"## {title}",
            f"`python experiments/cooperative.py {what} --out results/cooperative`: "
            f"{one['steps']} meta-steps, {one['experiment']['num_tasks']} tasks each, "
            f"{one['experiment']['method']['rule']['steps']} inner steps of "
            f"{one['experiment']['method']['rule']['lr']:g}, "
            f"{one['scores']['protocol']['tasks']} unseen tasks, transductive; torch "
            f"{one['versions']['torch']}, {one['hardware']}. Mean {unit} ± half-width:",
            "\n".join(table(found, floor)),
            f"![{title}]({what}.png)",
        ]
    if (folder / "discussion.md").exists():
        parts.append((folder / "discussion.md").read_text().strip())
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
