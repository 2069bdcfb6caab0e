"""Meta-training: losses, validation, and what the interactions recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, aside, grid, section
from metaccord.report.markup import Html
from metaccord.report.numbers import BINS, Curve, across, aligned, losses, series
from metaccord.report.stories import Group

_KNOWN = frozenset({"step", "seconds", "query_loss", "support_loss", "grad_norm", "validation"})
_NAMES = {
    "sharing.share": ("Sharing: weight of the common gradient", "mean over inner steps"),
    "sharing.past": ("Sharing: weight of past gradients", "mean over inner steps"),
    "coherent.cosine": ("Cosine of displacements", "mean over pairs of tasks, as adapted"),
    "coherent.corrected": ("Cosine after the correction", "mean over pairs of tasks"),
    "estimator.penalty": ("Penalty", "mean over tasks, part of the query loss"),
    "estimator.residual": ("Residual of the implicit solver", "relative, mean over tasks"),
    "grad_norm": ("Length of the meta-gradient", "before clipping"),
}


def training(page: Context) -> Section | None:
    """Return the curves of the training."""
    groups = [g for g in page.groups if any(s.facts.records for s in g.stories)]
    if not groups:
        return None
    figures = [_losses(page, groups), _validation(page, groups)]
    more = [_note(page, groups, name) for name in ("grad_norm", *_recorded(groups))]
    warned = _warnings(groups)
    return section("training", "Meta-training", *figures, grid(*more) if more else None, warned)


def _losses(page: Context, groups: list[Group]) -> Html | None:
    lines = [_line(group, [losses(s.facts.records) for s in group.stories]) for group in groups]
    lines = [line for line in lines if line.x]
    if not lines:
        return None
    queried = all("query_loss" in r for g in groups for s in g.stories for r in s.facts.records[:1])
    kind = "on the query set after the inner steps"
    if not queried:
        kind = "on the query set after the inner steps, or on the support set where the method "
        kind += "takes no query loss"
    return chart(
        page.ids,
        lines,
        Look(
            "Training loss",
            f"Mean over the tasks of a meta-step, {kind}; neighbouring meta-steps are pooled.",
            y="loss",
            log=None,
        ),
    )


def _line(group: Group, found: list[Curve], most: int = BINS) -> Line:
    """Return a run with the spread of its single steps, or seeds with their interval."""
    curves = aligned(found, most)
    if not curves:
        return Line(group.name, [], [])
    drawn = curves[0] if len(curves) == 1 else across(curves)
    band = "band: middle 90 % of single meta-steps" if len(curves) == 1 else "band: 95 %, seeds"
    return Line(
        group.name, drawn["x"], drawn["y"], drawn["low"], drawn["high"], group.colour, band=band
    )


def _validation(page: Context, groups: list[Group]) -> Html | None:
    lines, share = [], True
    for group in groups:
        runs = [[r for r in s.facts.records if r.get("validation")] for s in group.stories]
        share = share and all("accuracy" in r["validation"] for run in runs for r in run)
    for group in groups:
        curves = [c for s in group.stories if (c := _checks(s.facts.records, share))["x"]]
        if not curves:
            continue
        found = curves[0] if len(curves) == 1 else across(curves)
        if not found["x"]:
            continue
        band = "band: 95 %, tasks" if len(curves) == 1 else "band: 95 %, seeds"
        parts = found["x"], found["y"], found["low"], found["high"]
        lines.append(Line(group.name, *parts, group.colour, band=band))
    if not lines:
        return None
    return chart(
        page.ids,
        lines,
        Look(
            "Validation tasks",
            "Unseen tasks of the validation split, each adapted alone.",
            y="accuracy" if share else "query loss",
            log=False if share else None,
            share=share,
        ),
    )


def _checks(records: list[dict[str, Any]], share: bool) -> dict[str, list[float]]:
    key = "accuracy" if share else "loss"
    kept = [(r["step"], r["validation"][key]) for r in records if r.get("validation")]
    return {
        "x": [float(step) for step, _ in kept],
        "y": [float(one["mean"]) for _, one in kept],
        "low": [float(one["mean"] - one["half"]) for _, one in kept],
        "high": [float(one["mean"] + one["half"]) for _, one in kept],
    }


def _recorded(groups: list[Group]) -> list[str]:
    """Return the names of what else was recorded; agreement has a section of its own."""
    found: dict[str, None] = {}
    for group in groups:
        for story in group.stories[:1]:
            for name, value in (story.facts.records[-1] if story.facts.records else {}).items():
                ours = name not in _KNOWN and not name.startswith("agreement.")
                if ours and isinstance(value, int | float | list):
                    found[name] = None
    return list(found)


def _note(page: Context, groups: list[Group], name: str) -> Html | None:
    lines = []
    for group in groups:
        found = [series(s.facts.records, name) for s in group.stories]
        line = _line(group, [(x, y) for x, y in found if np.isfinite(y).any()], 80)
        if line.x:
            lines.append(Line(**{**vars(line), "band": ""}))
    if not lines:
        return None
    title, note = _NAMES.get(name, (name, "as recorded; of several numbers their mean"))
    log = None if name in ("grad_norm", "estimator.residual") else False
    return chart(page.ids, lines, Look(title, note, log=log, small=True))


def _warnings(groups: list[Group]) -> Html | None:
    found = [
        f"Meta-step {r['step']:,} of {s.facts.path.name}: {r['warning']}"
        for g in groups
        for s in g.stories
        for r in s.facts.records
        if r.get("warning")
    ]
    return aside("Warnings: ", "; ".join(found[:5])) if found else None
