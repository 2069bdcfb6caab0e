"""What the training cost: time, memory, passes through the model."""

from __future__ import annotations

import numpy as np

from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, aside, section
from metaccord.report.markup import Html, table
from metaccord.report.numbers import pooled, series
from metaccord.report.scales import duration, number, size, whole


def costs(page: Context) -> Section | None:
    """Return time, memory and counts."""
    rows, keys = [], []
    for group in page.groups:
        seconds = np.concatenate([series(s.facts.records, "seconds")[1] for s in group.stories])
        if not len(seconds):
            continue
        middle, total = float(np.median(seconds)), float(seconds.sum())
        cost = group.first.parts.get("cost") or {}
        counts = [cost.get("forward"), cost.get("backward")]
        rows.append(
            [group.name, duration(total), duration(middle),
             size(cost["peak_bytes"]) if cost else "–",
             *("–" if c is None else number(float(c)) for c in counts),
             whole(cost["parameters"]) if cost else "–",
             whole(cost["learned beside"]) if cost else "–"]
        )  # fmt: skip
        keys.append(
            [group.name, total, middle, cost.get("peak_bytes"), *counts, cost.get("parameters"),
             cost.get("learned beside")]
        )  # fmt: skip
    if not rows:
        return None
    heads = [
        "Method", "Time in meta-steps", "Median meta-step", "Peak memory", "Forward passes",
        "Backward passes", "Weights of the model", "Learned beside them",
    ]  # fmt: skip
    seeds = any(len(group.stories) > 1 for group in page.groups)
    caption = f"Cost of meta-training{', times of all seeds together' if seeds else ''}"
    shown = table(heads, rows, caption=caption, keys=keys)
    note = aside(
        "Passes are per task and meta-step, counted in one meta-step at the newest checkpoint: a "
        "forward pass is one call of the model with one task's support or query set (co-learners "
        "and pruned copies included), a backward pass one gradient of a task. The meta-gradient "
        "itself counts as one. Peak memory is what tensors of that meta-step hold at one time, "
        "measured on the machine that made the report; times are those of the training."
    )
    return section("cost", "Cost", shown, _pace(page), note)


def _pace(page: Context) -> Html | None:
    lines = []
    for group in page.groups:
        steps, values = series(group.first.facts.records, "seconds")
        if len(steps) > 1:
            found = pooled(steps[1:], 1000 * values[1:], 100)
            parts = found["x"], found["y"], found["low"], found["high"]
            lines.append(Line(group.name, *parts, group.colour, band="band: middle 90 %"))
    if not lines:
        return None
    look = Look("Time of a meta-step", "Without the first one.", y="ms", zero=True, small=True)
    return chart(page.ids, lines, look)
