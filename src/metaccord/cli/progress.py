"""Progress of a training: a live bar on a terminal, plain lines in a log, JSON for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metaccord import jsontree
from metaccord.records import Record

EVERY = 10.0  # seconds between plain lines


def shown(
    records: Iterable[Record], *, title: str, start: int, steps: int, as_json: bool
) -> Iterator[Record]:
    """Yield the records while showing them in the way that fits the output.

    Args:
        records: Of a training.
        title: What is trained.
        start: Steps done before.
        steps: Steps in all.
        as_json: One JSON object per record on standard output, nothing else.
    """
    if as_json:
        for record in records:
            print(jsontree.encode(record.json(), "record"), flush=True)
            yield record
    elif sys.stderr.isatty():
        yield from _bar(records, title, start, steps)
    else:
        yield from _lines(records, title, steps)


def _bar(records: Iterable[Record], title: str, start: int, steps: int) -> Iterator[Record]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as progress:
        bar = progress.add_task(title, total=steps, completed=start, loss="…", rate="…")
        smooth, pace = None, _Pace()
        for record in records:
            smooth = record.loss if smooth is None else 0.95 * smooth + 0.05 * record.loss
            rate = pace(record.step)
            shown = "…" if rate is None else f"{rate:.1f}"
            progress.update(bar, completed=record.step, loss=f"{smooth:.4f}", rate=shown)
            yield record


def _lines(records: Iterable[Record], title: str, steps: int) -> Iterator[Record]:
    pace, last = _Pace(), time.perf_counter()
    for record in records:
        rate = pace(record.step)
        if record.step == steps or time.perf_counter() - last >= EVERY:
            last = time.perf_counter()
            speed = f" {rate:.1f}/s, {(steps - record.step) / rate:.0f} s left" if rate else ""
            print(
                f"{title}: step {record.step}/{steps} loss {record.loss:.4f}{speed}",
                file=sys.stderr,
                flush=True,
            )
        yield record


class _Pace:
    """Meta-steps per second since the first one, which may have compiled."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None

    def __call__(self, step: int) -> float | None:
        """Return the pace at a step; None at the first."""
        if self.first is None:
            self.first = step, time.perf_counter()
            return None
        return (step - self.first[0]) / (time.perf_counter() - self.first[1])
