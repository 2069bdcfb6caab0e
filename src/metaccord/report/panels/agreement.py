"""How Gradient Agreement weighed the tasks over the training, and how often they conflicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, grid, paragraph, section
from metaccord.report.numbers import bins, pooled, series
from metaccord.report.stories import Group

WEIGHTS = "agreement.weights"
MARKS = (0.05, 0.25, 0.5, 0.75, 0.95)


def agreement(page: Context) -> Section | None:
    """Return weights and conflicts over time."""
    groups = [g for g in page.groups if any(WEIGHTS in r for r in g.first.facts.records)]
    if not groups:
        return None
    parts: list[object] = [
        paragraph(
            "Gradient Agreement gives each task a weight by how much its own move agrees with the "
            "sum of all. Weight times number of tasks is shown: 1 is the plain mean, below 0 the "
            "task conflicts with the others and is pushed away from."
        )
    ]
    parts += [_weights(page, group) for group in groups]
    parts.append(
        grid(
            _one(page, groups, "negative"),
            _one(page, groups, "agreement.effective_tasks"),
            _one(page, groups, "agreement.stretch"),
        )
    )
    return section("agreement", "Agreement and conflict", *parts)


def _weights(page: Context, group: Group) -> object:
    kept = [r for r in group.first.facts.records if WEIGHTS in r]
    table, steps = [], []
    for part in bins(len(kept), 100):
        values = np.concatenate([_relative(kept[i]) for i in part])
        good = values[np.isfinite(values)]
        table.append(np.quantile(good, MARKS) if len(good) else np.full(len(MARKS), np.nan))
        steps.append(float(kept[part[-1]]["step"]))
    columns = np.stack(table, 1).tolist()
    seeds = len(group.stories)
    which = f", seed {group.first.facts.seed}" if seeds > 1 else ""
    lines = [
        Line("median", steps, columns[2], columns[1], columns[3], group.colour,
             band="band: middle 50 %"),
        Line("5 % lowest", steps, columns[0], colour=group.colour, dashed=True),
        Line("5 % highest", steps, columns[4], colour=group.colour, dashed=True),
    ]  # fmt: skip
    name = "" if page.single else f": {group.name}"
    return chart(
        page.ids,
        lines,
        Look(
            f"Weights of the tasks{name}",
            f"Neighbouring meta-steps are pooled{which}.",
            y="weight × number of tasks",
            marks=((1.0, "plain mean"), (0.0, "no influence")),
        ),
    )


def _relative(record: dict[str, Any]) -> np.ndarray:
    found = np.asarray(record[WEIGHTS], dtype=float).ravel()
    return found * len(found)


_LOOKS = {
    "negative": Look("Tasks in conflict", "Weights below 0.", share=True, zero=True, small=True),
    "agreement.effective_tasks": Look(
        "Effective tasks", "1 / sum of squared weights.", zero=True, small=True
    ),
    "agreement.stretch": Look(
        "Stretch", "The weighted step along the plain mean, relative to it.", zero=True, small=True
    ),
}


def _one(page: Context, groups: list[Group], name: str) -> object:
    lines = []
    for group in groups:
        records = group.first.facts.records
        if name == "negative":
            kept = [r for r in records if WEIGHTS in r]
            steps = np.array([r["step"] for r in kept], dtype=float)
            values = np.array([float((_relative(r) < 0).mean()) for r in kept])
        else:
            steps, values = series(records, name)
        found = pooled(steps, values, 80)
        lines.append(Line(group.name, found["x"], found["y"], colour=group.colour))
    return chart(page.ids, lines, _LOOKS[name])
