"""What adaptation does to unseen tasks: curves over inner steps, single tasks, comparison."""

from __future__ import annotations

import numpy as np

from metaccord.calibration import LEAST, Calibration
from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, grid, section
from metaccord.report.markup import Html, table
from metaccord.report.numbers import Result, comparable, gap, result
from metaccord.report.scales import interval, number, whole

MARKS = 41


def results(page: Context) -> Section | None:
    """Return the results on unseen tasks."""
    found = {g.name: result(g) for g in page.groups}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        return None
    share = all(one.share for one in known.values())
    figures = grid(_by_step(page, share), _distribution(page, known, share), pairs=True)
    sure = _reliability(page)
    return section("results", "Unseen tasks", figures, _table(known), sure)


def _by_step(page: Context, share: bool) -> Html | None:
    lines, trained = [], {}
    for group in page.groups:
        one = result(group)
        longer = result(group, "steps")
        if longer is not None and one is not None and len(longer.at) > len(one.at):
            trained[group.name], one = one.at[-1], longer
        if one is None:
            continue
        means, low, high = one.band()
        lines.append(Line(group.name, [float(k) for k in one.at], means, low, high, group.colour,
                          band="band: 95 %"))  # fmt: skip
    if not lines:
        return None
    note = "Mean over unseen tasks, each adapted alone."
    for name, steps in trained.items():
        who = "Trained" if page.single else f"{name} was trained"
        note += f" {who} with {steps} inner step{'s' if steps != 1 else ''}; more are taken here."
    what = "Accuracy" if share else "Loss"
    return chart(
        page.ids,
        lines,
        Look(f"{what} after each inner step", note, x="inner steps", y=what.lower(), share=share,
             log=False if share else None),
    )  # fmt: skip


def _distribution(page: Context, known: dict[str, Result], share: bool) -> Html:
    """Return which share of the tasks is at most this bad, before and after."""
    lines = []
    for group in page.groups:
        one = known.get(group.name)
        if one is None:
            continue
        marks = np.linspace(0, 1, MARKS)
        before, after = (np.sort(one.values[0][:, k]) for k in (0, -1))
        for when, values, dashed in (("before", before, True), ("after", after, False)):
            name = when if page.single else f"{group.name}, {when}"
            heights = np.quantile(values, marks) if np.isfinite(values).all() else values[:0]
            if len(heights):
                lines.append(Line(name, (100 * marks).tolist(), heights.tolist(),
                                  colour=group.colour, dashed=dashed))  # fmt: skip
    what = "accuracy" if share else "loss"
    seeds = any(len(one.values) > 1 for one in known.values())
    first = " Of several seeds the first." if seeds else ""
    if not lines:
        lines = [Line("after", [0.0, 100.0], [float("nan")] * 2)]
    return chart(
        page.ids,
        lines,
        Look("Not only the mean: all tasks",
             f"Tasks in the order of their {what}: at 50 the {what} of the task in the middle, at "
             f"0 that of the task with the lowest.{first}",
             x="tasks, % in ascending order", y=what, share=share, log=False if share else None),
    )  # fmt: skip


def _reliability(page: Context) -> Html | None:
    """Return how often answers of each confidence are right."""
    lines, errors = [], []
    for group in page.groups:
        found = group.part("scores")
        if not found or any("calibration" not in one for one in found):
            continue
        whole = sum(
            (Calibration.from_json(one["calibration"]) for one in found[1:]),
            Calibration.from_json(found[0]["calibration"]),
        )
        kept = [one for one in whole.reliability if one.examples >= LEAST]
        if kept:
            lines.append(
                Line(
                    group.name,
                    [100 * one.confidence for one in kept],
                    [one.accuracy for one in kept],
                    [max(0.0, one.accuracy - one.half) for one in kept],
                    [min(1.0, one.accuracy + one.half) for one in kept],
                    group.colour,
                    band="band: 95 %",
                )
            )
            errors.append(f"{group.name} {number(100 * whole.ece)} %")
    if not lines:
        return None
    lines.append(Line("sure as it is right", [0.0, 100.0], [0.0, 1.0], colour=-1, dashed=True))
    return chart(
        page.ids,
        lines,
        Look("How sure, and how often right",
             f"Answers to all queries, in bins of their confidence that hold {LEAST} or more; the "
             "band takes answers for independent. Below the dashed line the model is surer than "
             f"it is right. Expected calibration error: {'; '.join(errors)}.",
             x="confidence, %", y="right", share=True),
    )  # fmt: skip


def _table(known: dict[str, Result]) -> Html:
    base = next(iter(known.values()))
    several = len(known) > 1
    what = "Accuracy" if base.share else "Loss"
    heads = ["Method", "Before", "After", "Inner steps", "Runs", "Tasks"]
    if several:
        heads.insert(3, "Minus the first (paired)")
    rows, keys = [], []
    for place, (name, one) in enumerate(known.items()):
        before, after = one.interval(0), one.interval()
        row = [name, interval(before, share=one.share), interval(after, share=one.share)]
        key: list[float | str | None] = [name, before.mean, after.mean]
        if several:
            shown, value = _difference(one, base) if place else ("", None)
            row.append(shown)
            key.append(value)
        tasks = len(one.values[0])
        row += [str(one.at[-1]), str(len(one.values)), whole(tasks)]
        key += [one.at[-1], len(one.values), tasks]
        rows.append(row)
        keys.append(key)
    star = " * the interval leaves out 0." if several else ""
    caption = f"{what} on unseen tasks, 95 % intervals.{star}"
    return table(heads, rows, caption=caption, keys=keys)


def _difference(one: Result, base: Result) -> tuple[str, float | None]:
    if not comparable(one, base):
        return "not compared: another protocol", None
    found = gap(one, base)
    if found is None:
        return "not compared: other seeds", None
    star = " *" if abs(found.mean) > found.half else ""
    shown = interval(found, share=one.share) if np.isfinite(found.half) else number(found.mean)
    return f"{shown}{star}", found.mean
