"""Curves: error against gradient steps, and meta-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from metaccord.errors import UsageError
from metaccord.plots import style
from metaccord.plots.bands import Band, band, running_mean
from metaccord.plots.lines import draw, scale
from metaccord.scores import Scores

Run = Sequence[Mapping[str, Any]]
Check = Mapping[str, float | None]


@style.styled
def error_by_step(scores: Mapping[str, Sequence[Scores]]) -> Figure:
    """Draw error (or accuracy) after each number of gradient steps, with 95 % bands.

    Several seeds: mean of the seeds' means, band by Student's t. One seed: band over tasks.

    Args:
        scores: Per method the scores of its seeds, all measured in the same way; numbers of
            steps may differ from method to method.

    Raises:
        UsageError: for an empty list, or for scores that are not comparable.
    """
    first = _comparable(scores)
    accuracy = all(s.accuracies is not None for runs in scores.values() for s in runs)
    bands = {name: _score_band(runs, accuracy) for name, runs in scores.items()}
    counts = {len(runs) for runs in scores.values()}
    over = "the tasks of one seed" if counts == {1} else "seeds (one seed: over tasks)"
    if len(counts) == 1 and counts != {1}:
        over = f"{counts.pop()} seeds"
    protocol = first.protocol
    what = "Accuracy" if accuracy else "Error"
    figure, (axes,) = style.canvas(
        f"{what} on unseen tasks after a few gradient steps",
        f"Mean over {protocol.tasks} {protocol.split} tasks ({protocol.statistics} protocol, "
        f"episode seed {protocol.seed}). Band: 95 % interval over {over}.",
        (7.6, 4.6),
    )
    lines = {name: (np.asarray(scores[name][0].at), found) for name, found in bands.items()}
    named = {name: _noted(name, bands[name], scores[name]) for name in scores}
    draw(axes, lines, named, points=True, share=accuracy)
    ticks = sorted({step for runs in scores.values() for step in runs[0].at})
    axes.set_xticks(_thinned(ticks), [str(step) for step in _thinned(ticks)])
    axes.set_xlabel("gradient steps on the support set")
    axes.set_ylabel("query accuracy, %" if accuracy else f"query loss{scale(axes)}")
    return figure


def _comparable(scores: Mapping[str, Sequence[Scores]]) -> Scores:
    empty = [name for name, runs in scores.items() if not runs]
    if not scores or empty:
        raise UsageError(f"scores has nothing for {empty or 'any method'}: give one per seed")
    found = [s for runs in scores.values() for s in runs]
    ways = {(s.protocol.statistics, s.protocol.tasks, s.protocol.split) for s in found}
    uneven = [name for name, runs in scores.items() if len({s.at for s in runs}) > 1]
    if len(ways) > 1 or uneven:
        raise UsageError(
            f"scores were measured in different ways ({sorted(ways)}, different steps in "
            f"{uneven}): evaluate all of them with one protocol and one at="
        )
    return found[0]


def _score_band(runs: Sequence[Scores], accuracy: bool) -> Band:
    tables = [s.accuracies if accuracy and s.accuracies is not None else s.losses for s in runs]
    values = [t.double().numpy() for t in tables]  # each [tasks, points]
    if len(values) == 1:
        return band(values[0], seeds=False)
    return band(np.stack([v.mean(0) for v in values]))


def _noted(name: str, found: Band, runs: Sequence[Any]) -> str:
    """Return the label of a line, which says what is missing in it."""
    of = f"{len(runs)} seeds" if len(runs) > 1 else "values"
    lost = f"\n{found.lost} of {of} not finite" if found.lost else ""
    return style.words(name).replace(" + ", "\n+ ") + lost


@style.styled
def training(records: Mapping[str, Sequence[Run]], *, window: int | None = None) -> Figure:
    """Draw the loss during meta-training, and the validation results if there are any.

    Args:
        records: Per method the records of its seeds, each a list of ``Record.json()``, with
            entries ``{"step": n, "validation": {"loss": ..., "accuracy": ...}}`` where measured:
            numbers, or intervals as ``Scores.json()`` gives them.
        window: Meta-steps of the running mean; None: a fiftieth of the longest training.

    Raises:
        UsageError: for a method without records, or runs that share no step.
    """
    if not records or not all(runs and all(runs) for runs in records.values()):
        raise UsageError("records is empty for a method: give the records of at least one seed")
    last = max(int(r["step"]) for runs in records.values() for run in runs for r in run)
    window = max(1, last // 50) if window is None else window
    train = {name: [_losses(run, window) for run in runs] for name, runs in records.items()}
    checks = {name: [_checks(run) for run in runs] for name, runs in records.items()}
    checks = {name: found for name, found in checks.items() if any(found)}
    counts = sorted({len(runs) for runs in records.values()})
    seeds = " or ".join(map(str, counts))
    averaged = f"Mean over {seeds} seeds. Band: 95 % interval over seeds."
    if counts == [1]:
        averaged = "One seed."
    figure, panels = style.canvas(
        "Meta-training",
        f"{averaged} Training loss: {_kinds(records)}, mean over the tasks of a meta-step.",
        (11.5 if checks else 7.6, 4.4),
        columns=2 if checks else 1,
    )
    shown = list(records)
    _panel(panels[0], "Training tasks", train, shown)
    panels[0].set_xlabel(f"meta-step (running mean over the last {window})")
    panels[0].set_ylabel(f"training loss{scale(panels[0])}")
    if checks:
        _validation(panels[1], checks, shown)
    return figure


def _validation(axes: Axes, checks: Mapping[str, list[dict[int, Check]]], shown: list[str]) -> None:
    every = [check for runs in checks.values() for run in runs for check in run.values()]
    accuracy = all(check.get("accuracy") is not None for check in every)
    key = "accuracy" if accuracy else "loss"
    series = {
        name: [{step: _mean(check.get(key)) for step, check in run.items()} for run in runs]
        for name, runs in checks.items()
    }
    _panel(axes, "Validation tasks", series, shown, points=True, share=accuracy)
    axes.set_xlabel("meta-step")
    axes.set_ylabel("query accuracy, %" if accuracy else f"query loss{scale(axes)}")


def _mean(value: Any) -> float:
    """Return a number, or the mean of an interval ``{"mean": ..., "half": ...}``."""
    if isinstance(value, Mapping):
        return _mean(value.get("mean"))
    return float("nan") if value is None else float(value)


def _losses(run: Run, window: int) -> dict[int, float]:
    """Return the smoothed loss by step: on the query set, or without one on the support set."""
    kept = [r for r in run if "query_loss" in r or "support_loss" in r]
    kept.sort(key=lambda r: int(r["step"]))
    steps = np.array([int(r["step"]) for r in kept])
    values = np.array([r.get("query_loss", r.get("support_loss")) for r in kept], dtype=float)
    return dict(zip(steps.tolist(), running_mean(steps, values, window).tolist(), strict=True))


def _checks(run: Run) -> dict[int, Check]:
    return {int(r["step"]): r["validation"] for r in run if r.get("validation")}


def _kinds(records: Mapping[str, Sequence[Run]]) -> str:
    """Say what the training loss is; methods without query loss record another one."""
    asks = {n: any("query_loss" in r for r in runs[0]) for n, runs in records.items()}
    support = [style.words(name) for name, query in asks.items() if not query]
    if not support:
        return "on the query set after the inner steps"
    if len(support) == len(asks):
        return "on the support set before the last inner step"
    return (
        "on the query set after the inner steps; on the support set before the last inner step "
        f"for {', '.join(support)}"
    )


def _panel(
    axes: Axes,
    title: str,
    series: Mapping[str, Sequence[Mapping[int, float]]],
    shown: list[str],
    *,
    points: bool = False,
    share: bool = False,
) -> None:
    lines, named = {}, {}
    for name, runs in series.items():
        steps = sorted(set(runs[0]).intersection(*runs[1:]))
        if not steps:
            raise UsageError(f"the runs of {name!r} share no meta-step: plot them one by one")
        found = band(np.array([[run[s] for s in steps] for run in runs]))
        lines[name] = (np.array(steps), found)
        named[name] = _noted(name, found, runs)
    axes.set_title(title)
    draw(axes, lines, named, points=points, share=share, shown=shown)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _thinned(ticks: list[int]) -> list[int]:
    """Return the ticks that have room."""
    room = (ticks[-1] - ticks[0]) / 25
    kept = ticks[:1]
    for tick in ticks[1:]:
        if tick - kept[-1] >= room:
            kept.append(tick)
    return kept
