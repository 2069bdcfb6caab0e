"""Write results/sharing/README.md and its pictures from the records of sharing.py.

python experiments/sharing_report.py results/sharing
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from acceleration import Curve, Race, acceleration, races, smoothed
from cells import Line, known
from matplotlib.figure import Figure

from metaccord.plots import bands, style
from metaccord.statistics import over_seeds

TITLES = {
    "sine": "Sine waves, 10-shot",
    "omniglot5": "Omniglot, 5-way 1-shot",
    "omniglot20": "Omniglot, 20-way 1-shot",
}
FORMS = {"maml": "MAML", "convex": "convex sharing", "additive": "additive sharing"}
DIVERGED = 8.0  # predicting 0 everywhere costs 4.25; what lies above is not drawn
COLOURS = {"maml": "#008F6B", "convex": "#0072B2", "additive": "#D55E00"}
Grid = dict[tuple[str, float], list[Line]]


def grid(found: list[Line]) -> Grid:
    """Return the lines by form and inner rate, in the order of their seeds."""
    table: Grid = defaultdict(list)
    for line in sorted(found, key=lambda line: line["seed"]):
        form = "maml" if line["method"] == "maml" else "convex"
        form = "additive" if "additive" in line["name"] else form
        table[form, line["experiment"]["method"]["rule"]["lr"]].append(line)
    return table


def result(line: Line) -> float:
    """Return test accuracy in percent, or loss."""
    scores = line["scores"]
    return 100 * scores["accuracy"]["mean"] if "accuracy" in scores else scores["loss"]["mean"]


def best(table: Grid, form: str, more: bool) -> float:
    """Return the inner rate whose mean smoothed validation value at the end is best."""
    rates = sorted({rate for name, rate in table if name == form})
    final = {
        rate: float(np.mean([smoothed(line["curve"])[-1][2] for line in table[form, rate]]))
        for rate in rates
    }
    return (max if more else min)(final, key=lambda rate: final[rate])


def rates_table(table: Grid, more: bool) -> list[str]:
    """Return test results by form and inner rate."""
    rates = sorted({rate for _, rate in table})
    rows = ["| | " + " | ".join(f"rate {rate:g}" for rate in rates) + " |"]
    rows.append("|---" * (len(rates) + 1) + "|")
    for form, name in FORMS.items():
        chosen = best(table, form, more)
        cells = []
        for rate in rates:
            shown = over_seeds([result(line) for line in table[form, rate]])
            text = f"{shown.mean:.4g} ± {shown.half:.2g}"
            cells.append(f"**{text}**" if rate == chosen else text)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def curves(table: Grid, form: str, rate: float) -> list[Curve]:
    """Return the validation curves, one per seed."""
    return [[tuple(point) for point in line["curve"]] for line in table[form, rate]]


def speed_table(table: Grid, more: bool, cost: dict[str, float]) -> list[str]:
    """Return the acceleration at each form's own best rate, and at the base's.

    Seconds are meta-steps times the cost of one, which is measured apart, in turns.
    """
    rate = best(table, "maml", more)
    rows = [
        "| form | rate | half-way, meta-steps | final, meta-steps | final, seconds | reached |",
        "|---|---|---|---|---|---|",
    ]
    for form in ("convex", "additive"):
        for mine in dict.fromkeys((best(table, form, more), rate)):
            base, ours = curves(table, "maml", rate), curves(table, form, mine)
            half, full = (races(base, ours, more=more, moment=at) for at in (0.5, 1.0))
            told = [(half, 1.0), (full, 1.0), (full, cost[form])]
            cells = [accelerated(found, factor) for found, factor in told]
            count = sum(race.reached for race in full)
            rows.append(
                f"| {FORMS[form]} | {mine:g} | {' | '.join(cells)} | {count} of {len(full)} |"
            )
    return rows


def accelerated(found: list[Race], factor: float) -> str:
    """Return the acceleration in per cent, a meta-step costing ``factor`` times as much."""
    middle, low, high = (100 * ((1 + x) / factor - 1) for x in acceleration(found))
    bound = "" if all(race.reached for race in found) else "at most "
    return f"{bound}{middle:+.0f} % ({low:+.0f} to {high:+.0f})"


def costs(folder: Path, what: str) -> dict[str, float]:
    """Return how many times MAML's a meta-step of each form takes."""
    found = json.loads((folder / f"{what}-step.json").read_text())
    return {"convex": found["maml+sharing"]["median"], "additive": found["additive"]["median"]}


@style.styled
def picture(what: str, table: Grid, more: bool) -> Figure:
    """Draw results by inner rate, validation during training, and the coefficients."""
    some = next(iter(table.values()))
    unit = "accuracy, %" if more else "mean squared error"
    seeds, steps = len(some), some[0]["steps"]
    note = (
        f"{seeds} seeds, bands are 95 % intervals over seeds; {steps} meta-steps; test tasks "
        "transductive. Sharing is a reconstruction from the paper's abstract."
    )
    title = f"{TITLES[what]}: Gradient Sharing against MAML"
    figure, panels = style.canvas(title, note, (13.5, 4.4), columns=3)
    rates = sorted({rate for _, rate in table})
    for form, name in FORMS.items():
        found = [over_seeds([result(line) for line in table[form, rate]]) for rate in rates]
        middle = [one.mean for one in found]
        panels[0].errorbar(
            rates, middle, [one.half for one in found], marker="o", ms=5, capsize=3,
            color=COLOURS[form], label=name,
        )  # fmt: skip
    panels[0].set(xscale="log", xlabel="inner rate", ylabel=f"test {unit}", title="By inner rate")
    panels[0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    panels[0].minorticks_off()
    if not more:
        style.log_scale(panels[0])
        panels[0].set_ylim(0.5 * min(result(x) for runs in table.values() for x in runs), DIVERGED)
    panels[0].legend(frameon=False)
    for form, name in FORMS.items():
        rate = best(table, form, more)
        runs = np.array([[p[2] for p in smoothed(c)] for c in curves(table, form, rate)])
        band = bands.band(runs)
        x = np.array([p[0] for p in curves(table, form, rate)[0]])
        factor = 100 if more else 1
        panels[1].plot(x, factor * band.mean, color=COLOURS[form], label=f"{name}, {rate:g}")
        low, high = factor * band.low, factor * band.high
        panels[1].fill_between(x, low, high, color=COLOURS[form], alpha=0.15, lw=0)
    panels[1].set(xlabel="meta-step", ylabel=f"validation {unit}", title="At its own best rate")
    if not more:
        style.log_scale(panels[1])
    panels[1].legend(frameon=False)
    coefficients(panels[2], table, more)
    return figure


def coefficients(panel: object, table: Grid, more: bool) -> None:
    """Draw the coefficients of the first and the last inner step, at each form's best rate."""
    for form in ("convex", "additive"):
        runs = table[form, best(table, form, more)]
        for kind, dash in (("share", "-"), ("past", "--")):
            x = [entry["step"] for entry in runs[0]["trace"]]
            values = np.array([[e[f"sharing.{kind}"][0] for e in run["trace"]] for run in runs])
            word = "concurrent" if kind == "share" else "earlier"
            panel.plot(x, values.mean(0), dash, color=COLOURS[form], label=f"{form}, {word}")
    panel.set(xlabel="meta-step", ylabel="coefficient", title="Coefficients, first inner step")
    panel.set_ylim(top=panel.get_ylim()[1] * 1.35)
    panel.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper left")


def main() -> None:
    """Write tables and pictures; the text between them is kept in discussion.md."""
    folder = Path(sys.argv[1])
    parts = [
        "# Gradient Sharing: acceleration and inner rates",
        "A reconstruction: only the abstract of the paper is public to us, which claims up to "
        "134 % faster meta-training and larger inner rates. Here T is the number of meta-steps "
        "until the validation value, a mean of three measurements, first equals what MAML of the "
        "same seed has at MAML's best inner rate, half-way through its training or at its end; "
        "acceleration is T(MAML) / T(sharing) - 1, "
        "with 95 % intervals by Student's t on the logarithm over seeds. In seconds it takes the "
        "cost of a meta-step into account, which is measured apart (`python "
        "experiments/step_cost.py sharing ...`). `at most`: some seeds never reached it, and "
        "their end stands for T. The final value is a coarse target where accuracy still rises at "
        "the end. Best rates are chosen by validation and set in bold.",
    ]
    for what, title in TITLES.items():
        found = known(folder / f"{what}.jsonl")
        if not found:
            continue
        table, more = grid(found), "accuracy" in found[0]["scores"]
        style.save(picture(what, table, more), folder / what)
        one = found[0]
        unit = "test accuracy, %" if more else "test loss"
        parts += [
            f"## {title}",
            f"`python experiments/sharing.py {what} --out results/sharing`: {one['steps']} "
            f"meta-steps, {one['experiment']['num_tasks']} tasks each, model "
            f"`{one['experiment']['model']}`, {one['experiment']['method']['rule']['steps']} inner "
            f"steps, {one['scores']['protocol']['tasks']} unseen tasks, transductive, "
            f"{len({line['seed'] for line in found})} seeds; torch {one['versions']['torch']}, "
            f"{one['hardware']}. Mean {unit} ± 95 % half-width over seeds:",
            "\n".join(rates_table(table, more)),
            "Acceleration over MAML at its best rate:",
            "\n".join(speed_table(table, more, costs(folder, what))),
            f"![{title}]({what}.png)",
        ]
    if (folder / "discussion.md").exists():
        parts.append((folder / "discussion.md").read_text().strip())
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
