"""What adaptation does along the training: how far, how flat, and how much alike."""

from __future__ import annotations

from typing import Any

from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, aside, grid, paragraph, section
from metaccord.report.markup import Html, tag
from metaccord.report.panels.summary import listed
from metaccord.report.stories import Story

QUANTITIES = {
    "target_accuracy": ("Accuracy on the query sets", "after adaptation"),
    "target_loss": ("Loss on the query sets", "after adaptation"),
    "support_loss": ("Loss on the support sets", "after adaptation"),
    "trajectory_coherence": (
        "Do tasks move alike?",
        "mean cosine between the displacements of two tasks",
    ),
    "gradient_cosine": (
        "Do tasks pull alike?",
        "mean cosine between the support gradients of two tasks, before adaptation",
    ),
    "distance": ("How far a task moves", "length of the displacement"),
    "spectral_norm": (
        "How curved it is there",
        "largest absolute eigenvalue of the support loss's Hessian after adaptation",
    ),
}
Points = list[tuple[int, dict[str, Any]]]  # by meta-step what was measured
_SIGNED = ("trajectory_coherence", "gradient_cosine")


def trajectories(page: Context) -> Section | None:
    """Return the panels over the checkpoints."""
    found = {g.name: (g, _points(g.first)) for g in page.groups}
    known = {name: (g, points) for name, (g, points) in found.items() if points}
    if not known:
        return None
    figures = []
    for key, (title, note) in QUANTITIES.items():
        if figure := _figure(page, known, key, title, note):
            figures.append(figure)
    if not figures:
        return None
    return section(
        "coherence",
        "Along the training",
        paragraph(
            f"{_how({name: points for name, (_, points) in known.items()})}, at the checkpoints "
            "that were kept; 0 is the untrained state. Bands are 95 % intervals over tasks."
        ),
        grid(*figures),
        aside(
            "Of several seeds the first is shown. Train with ",
            tag("code", "--set keep_every=N"),
            " for more points; ",
            tag("code", "metaccord analyse"),
            " measures more tasks and correlates these numbers with each other.",
        ),
    )


def _how(known: dict[str, Points]) -> str:
    """Return how it was measured, in words: once, or for each way with the names it goes for."""
    found: dict[str, list[str]] = {}
    for name, points in known.items():
        protocol = points[0][1]["protocol"]
        steps = f"{protocol['steps']} inner step{'s' if protocol['steps'] != 1 else ''}"
        words = f"{protocol['tasks']} unseen tasks, each adapted alone with {steps}"
        found.setdefault(words, []).append(name)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{listed(names)}: {words}" for words, names in found.items())


def _points(story: Story) -> Points:
    """Return what was measured by meta-step: by ``metaccord analyse``, or for this report."""
    found = story.facts.analysis or story.parts.get("coherence") or {}
    points = found.get("points", {})
    return sorted((int(step), entry["scores"]) for step, entry in points.items())


def _figure(page: Context, known: Any, key: str, title: str, note: str) -> Html | None:
    lines = []
    for name, (group, points) in known.items():
        kept = [(step, scores[key]) for step, scores in points if scores.get(key)]
        if len(kept) < 1:
            continue
        means = [float(one["mean"]) for _, one in kept]
        halves = [float(one["half"]) for _, one in kept]
        low = [m - h for m, h in zip(means, halves, strict=True)]
        high = [m + h for m, h in zip(means, halves, strict=True)]
        lines.append(Line(name, [float(step) for step, _ in kept], means, low, high, group.colour))
    if not lines:
        return None
    share = key == "target_accuracy"
    marks = ((0.0, "unrelated"),) if key in _SIGNED else ()
    log = False if share or key in _SIGNED else None
    return chart(page.ids, lines, Look(title, note, share=share, log=log, small=True, marks=marks))
