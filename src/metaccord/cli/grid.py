"""``metaccord compare TASKS --grid``: a factorial design over bases and interactions."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from metaccord.cli.compare import trained
from metaccord.cli.evaluate import finite
from metaccord.cli.tables import Results, cells, show
from metaccord.defaults import default
from metaccord.errors import UsageError, unknown
from metaccord.factorial import Cell, Design, Effect, effects, percent
from metaccord.method import initialise
from metaccord.methods import WRAPPERS
from metaccord.protocol import Protocol
from metaccord.scores import Scores


def designed(
    family: str, bases: str | None, named: str | None, fraction: str | None, settings: list[str]
) -> Design:
    """Return the design that is asked for, every part of it tried over every base.

    Args:
        family: Name of the task family.
        bases: Base methods, separated by commas; None: maml.
        named: Interactions; None: all that have a meaning over all the bases.
        fraction: None or ``"half"``.
        settings: Settings for all runs.

    Raises:
        UsageError: for unknown words, and for a combination without meaning, with the reason.
    """
    over_bases = (bases or "maml").split(",")
    chosen = named.split(",") if named else list(WRAPPERS)
    for word in chosen:
        if word not in WRAPPERS:
            raise unknown("interaction", word, WRAPPERS)
    for base in over_bases:
        _try(family, base, [], settings)
    factors = []
    for word in sorted(chosen, key=[*WRAPPERS].index):
        try:
            for base in over_bases:
                _try(family, base, [word], settings)
        except UsageError as error:
            if named:
                raise UsageError(f"--with {word} over {base}: {error}") from error
            print(f"note: {word} is left out of the grid: {error}", file=sys.stderr)
        else:
            factors.append(word)
    return Design(tuple(over_bases), tuple(factors), fraction)


def _try(family: str, base: str, words: list[str], settings: list[str]) -> None:
    """Build a method and its first state, and raise what that raises."""
    meant = [s for s in settings if s.split(".")[0] not in WRAPPERS.keys() - {*words}]
    experiment = default(family, base, words, meant).changed(meant)
    initialise(experiment.method, experiment.objective(), seed=0)


def crossed(
    family: str,
    design: Design,
    seeds: int,
    settings: list[str],
    out: Path | None,
    protocol: Protocol,
    json: bool,
) -> int:
    """Train every cell with every seed, then show cells, effects and the picture.

    Args:
        family: Name of the task family.
        design: Which bases and interactions.
        seeds: Number of seeds, from 0.
        settings: Settings for all runs.
        out: Folder for the runs and the picture; None: ``runs/grid-FAMILY``.
        protocol: How to measure.
        json: Print one JSON object.

    Returns:
        The exit code.
    """
    folder = out or Path("runs") / f"grid-{family}"
    labels = [label_of(cell, design) for cell in design.cells]
    results, code = trained(family, labels, seeds, settings, folder, protocol, json)
    if code:
        return code
    found = effects(design, responses(results))
    losses = results[labels[0]][0].accuracies is None
    from metaccord.plots import factorial, save  # matplotlib is heavy

    note = f"{seeds} seed{'s' if seeds > 1 else ''}; protocol: {protocol}"
    picture, _ = save(factorial(design, found, losses=losses, note=note), folder / "effects")
    if json:
        whole = {"tasks": family, "seeds": seeds, "settings": settings, "picture": str(picture)}
        print(jsonlib.dumps(finite(whole | report(design, results, found))))
        return 0
    show(results, str(protocol), bare_of(design))
    _show_effects(design, found, losses)
    print(f"picture: {picture}")
    return 0


def label_of(cell: Cell, design: Design) -> str:
    """Return a cell's label, such as ``maml+agreement+sharing``."""
    base, chosen = cell
    return "+".join([base, *(f for f in design.factors if f in chosen)])


def bare_of(design: Design) -> dict[str, str]:
    """Return for each label the label of its base alone, where the design holds that, too."""
    alone = {base for base, chosen in design.cells if not chosen}
    return {label_of(cell, design): cell[0] for cell in design.cells if cell[0] in alone}


def responses(results: Results) -> np.ndarray:
    """Return what effects are taken of, ``[cells, seeds]``.

    Accuracy in percentage points; for regression the natural logarithm of the mean loss, so
    that an effect is a ratio: losses are positive and skewed, and one method may have ten times
    another's.

    Raises:
        UsageError: for a mean loss that is not above 0.
    """
    rows = [[_response(scores) for scores in runs] for runs in results.values()]
    return np.array(rows)


def _response(scores: Scores) -> float:
    if scores.accuracies is not None:
        return 100 * float(scores.accuracies[:, -1].double().mean())
    loss = float(scores.losses[:, -1].double().mean())
    if loss <= 0:
        raise UsageError(f"a mean loss is {loss:.3g}: effects are ratios and need losses above 0")
    return math.log(loss)


def report(design: Design, results: Results, found: dict[str, Effect]) -> dict[str, Any]:
    """Return design, cells, effects and what cannot be told apart as one JSON tree."""
    first = next(iter(results.values()))[0]
    losses = first.accuracies is None
    numbers, entries = cells(results, bare_of(design)), []
    for (label, scores), (base, chosen) in zip(results.items(), design.cells, strict=True):
        words = [f for f in design.factors if f in chosen]
        entry = {"label": label, "base": base, "with": words, **numbers[label]}
        entries.append(entry | {"runs": [one.json() for one in scores]})
    return {
        "protocol": vars(first.protocol) | {"steps": None},
        "bases": design.bases,
        "factors": design.factors,
        "fraction": design.fraction,
        "cells": entries,
        "unit": "per cent of the loss" if losses else "percentage points of accuracy",
        "effects": {name: _entry(effect, losses) for name, effect in found.items()},
        "aliases": design.aliases,
        "left_out": design.left_out,
    }


def _entry(effect: Effect, losses: bool) -> dict[str, Any]:
    mean, low, high = _shown(effect, losses)
    return {
        **{"estimate": mean, "low": low, "high": high, "p": effect.p, "clear": effect.clear},
        **{"holm": effect.holm, "verdict": verdict(effect, losses)},
    }


def verdict(effect: Effect, losses: bool) -> str:
    """Return in words what an effect does; of a pair: together, beyond what each does alone."""
    if math.isnan(effect.interval.mean):
        return "not finite"
    if math.isnan(effect.interval.half):
        return "one seed"
    if not effect.clear:
        return "within noise"
    return "helps" if (effect.interval.mean > 0) != losses else "harms"


def _shown(effect: Effect, losses: bool) -> tuple[float, float, float]:
    """Return estimate and ends of the interval in the unit of the tables."""
    mean, low, high = effect.interval.mean, effect.interval.low, effect.interval.high
    return (percent(mean), percent(low), percent(high)) if losses else (mean, low, high)


def _show_effects(design: Design, found: dict[str, Effect], losses: bool) -> None:
    unit = "loss, %" if losses else "accuracy, points"
    table = Table(title=f"effects on the {unit}")
    for column in ("effect", unit, "95 % interval", "verdict"):
        table.add_column(column)
    for name, effect in found.items():
        mean, low, high = (f"{value:+.3g}" for value in _shown(effect, losses))
        mark = " **" if effect.holm else " *" if effect.clear else ""
        interval = "" if math.isnan(effect.interval.half) else f"{low} to {high}"
        table.add_row(name, mean, interval, verdict(effect, losses) + mark)
    console = Console()
    console.print(table)
    lines = [
        "A | B: A over B; A x B: half the difference of A's effect with and without B; "
        "A vs B: A instead of B",
        f"* the interval leaves out 0; ** also after Holm's adjustment for {len(found)} effects",
    ]
    if all(math.isnan(effect.interval.half) for effect in found.values()):
        lines[1] = "one seed: estimates without intervals; take --seeds 2 or more"
    lines += [f"cannot be told apart: {' and '.join(group)}" for group in design.aliases.values()]
    if design.left_out:
        lines.append(f"cannot be estimated: {', '.join(design.left_out)}")
    if design.fraction:
        lines.append("half a grid: effects of many interactions together are taken to be absent")
    for line in lines:
        console.print(line, highlight=False)
