"""The table of a comparison, and the same as one JSON object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metaccord.comparison import MARK, Comparison, compare, over
from metaccord.scores import Scores
from metaccord.statistics import Interval, holm

Results = dict[str, list[Scores]]


def compared(
    results: Results, bare: dict[str, str] | None = None, *, across: bool = False
) -> dict[str, Comparison]:
    """Return the comparison of each method with the first, or with its own partner.

    Args:
        results: Scores by method, one for each seed.
        bare: For each method the one to take its difference to; None: the first.
        across: Protocols may differ.

    Raises:
        UsageError: for scores that must not be compared.
    """
    first = next(iter(results))
    against = dict.fromkeys(results, first) if bare is None else bare
    pairs = {label: against.get(label, label) for label in results}
    return {
        label: compare(
            results[label], results[other], names=(label, other), different_protocols=across
        )
        for label, other in pairs.items()
        if label != other
    }


def summary(results: Results, *, across: bool = False) -> dict[str, object]:
    """Return all results and differences to the first method as one JSON tree."""
    found = compared(results, across=across)
    stand = holm({label: one.p for label, one in found.items()})
    return {
        label: {
            "mean": over(scores)._asdict(),
            "minus_first": found[label].difference._asdict() if label in found else None,
            "comparison": found[label].json() if label in found else None,
            "holm": label in stand,
            "runs": [one.json() for one in scores],
        }
        for label, scores in results.items()
    }


def protocol_of(results: Results) -> str:
    """Return how all were measured; steps that differ belong to the methods and are left open."""
    first, *others = {scores[0].protocol.steps: scores[0] for scores in results.values()}.values()
    return str(replace(first.protocol, steps=None) if others else first.protocol)


def show(
    results: Results, protocol: str, bare: dict[str, str] | None = None, *, across: bool = False
) -> None:
    """Print the table; stars mark differences whose interval leaves out 0.

    Args:
        results: Scores by method.
        protocol: How they were measured.
        bare: For each method the one to take its difference to; None: the first.
        across: Protocols may differ; then every line says so, and each method's is printed.
    """
    found = compared(results, bare, across=across)
    first = next(iter(results))
    several, classifies = len(results[first]) > 1, results[first][0].accuracies is not None
    mixed = any(one.differs for one in found.values())
    stand = holm({label: one.p for label, one in found.items()}) if len(found) > 1 else set()
    unit, tail = "accuracy %" if classifies else "loss", f" {MARK}" if mixed else ""
    title = f"{unit}, 95 % intervals over {'seeds' if several else 'tasks'}{tail}"
    table = Table(title=escape(title))
    named = first if bare is None else "the bare base"
    unpaired = mixed and not all(one.paired for one in found.values())
    heads = ["method", unit, f"minus {named} ({'not ' if unpaired else ''}paired)"]
    anew = any(one.anew is not None for one in found.values())
    for column in (*heads, *(["on new tasks"] if anew else [])):
        table.add_column(escape(column), overflow="fold")
    factor = 100 if classifies else 1
    for label, scores in results.items():
        one, cells = found.get(label), [escape(label + tail), _cell(over(scores), factor)]
        cells.append("" if one is None else _cell(one.difference, factor) + _stars(one, stand))
        if anew:
            cells.append("" if one is None or one.anew is None else _half(one.anew, factor))
        table.add_row(*cells)
    Console().print(table)
    for line in _legend(results, protocol, found, tail, anew):
        print(line)


def _legend(
    results: Results, protocol: str, found: dict[str, Comparison], tail: str, anew: bool
) -> list[str]:
    mixed = bool(tail)
    lines = []
    if mixed:
        lines += [f"{label}: {scores[0].how}{tail}" for label, scores in results.items()]
        reasons = dict.fromkeys(word for one in found.values() for word in one.differs)
        lines.append(f"protocols differ in {'; '.join(reasons)}{tail}")
    else:
        lines.append(f"protocol: {protocol}; {next(iter(results.values()))[0].episodes}")
    stars = "* the interval leaves out 0"
    if len(found) > 1:
        stars += f"; ** also after Holm's adjustment for {len(found)} comparisons"
    lines.append(stars + tail)
    if anew:
        lines.append(f"on new tasks: half-width for new seeds and new test tasks{tail}")
    return lines


def _stars(one: Comparison, stand: set[str]) -> str:
    return " **" if one.names[0] in stand else " *" if one.clear else ""


def _cell(interval: Interval, factor: float) -> str:
    return f"{factor * interval.mean:.4g} ± {factor * interval.half:.2g}"


def _half(interval: Interval, factor: float) -> str:
    return f"± {factor * interval.half:.2g}"


def cells(results: Results, bare: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return mean and difference to its partner of each method, as JSON trees."""
    found = compared(results, bare)
    return {
        label: {
            **over(scores)._asdict(),
            "minus_bare": found[label].difference._asdict() if label in found else None,
        }
        for label, scores in results.items()
    }
