"""What a meta-step costs as tasks, parameters and processes grow; fast and deterministic mode.

    python benchmarks/ranks.py --json results/ranks/record.json
    python benchmarks/ranks_report.py results/ranks

Real gloo processes on this machine train for a few steps and count their exchanges; then they time
exchanges alone, to which a model is fitted (benchmarks/exchanges.py). Of repeated times the best
counts, so that other work on the machine disturbs less; median and quartiles are kept beside it,
and the processor time that one process spends, which other work hardly changes.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from exchanges import KINDS
from machine import described, write
from race import spread
from torch import Tensor

import metaccord as mc
from metaccord import methods
from metaccord.launched import joined
from metaccord.memory import keep_freed
from metaccord.method import Method
from metaccord.ranks import Ranks, largest
from metaccord.selftest.children import Child, Mark

WORLDS = (1, 2, 4)
WIDTHS = {1_000: 30, 10_000: 98, 100_000: 314, 1_000_000: 998}  # P is width^2 + 4 width + 1
TASKS = (4, 12, 48)
MODES = ("fast", "deterministic")
MOST = 12_000_000  # tasks times parameters: above, rows and graphs take gigabytes and minutes
ROUNDS = 5
SIZES = tuple(4 * 4**k for k in range(12))  # bytes of the exchanges that are timed alone


class Counted:
    """Ranks that keep what each exchange was: its kind and numbers per row."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.rank, self.count = ranks, ranks.rank, ranks.count
        self.seen: list[tuple[str, int]] = []

    def sum(self, x: Tensor) -> Tensor:
        """Add, and count."""
        self.seen.append(("sum", x.numel()))
        return self.ranks.sum(x)

    def gather(self, x: Tensor) -> Tensor:
        """Gather, and count."""
        self.seen.append(("gather", x[0].numel()))
        return self.ranks.gather(x)


def contestants(steps: int, lr: float) -> dict[str, Method]:
    """Return MAML alone and with what exchanges more."""
    base = methods.maml(steps, lr)
    return {
        "maml": base,
        "maml+agreement": methods.gradient_agreement(base),
        "maml+sharing": methods.gradient_sharing(base),
    }


def cases(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what is measured, by its description."""
    for parameters in options.parameters:
        for tasks in options.tasks:
            for mode in MODES:
                for name in contestants(options.steps, 0.01):
                    if parameters * tasks <= MOST:
                        yield {
                            "method": name, "mode": mode, "parameters": parameters, "tasks": tasks,
                        }  # fmt: skip


def steps_of(
    case: dict[str, Any], options: argparse.Namespace, ranks: Ranks | None
) -> dict[str, Any]:
    """Train for a while and return seconds per meta-step and the exchanges of one."""
    method = contestants(options.steps, 0.01)[case["method"]]
    width = WIDTHS[case["parameters"]]
    model = mc.models.MLP(hidden=(width, width), activation="tanh")
    exact = case["mode"] == "deterministic"
    objective = mc.Objective(model, mc.losses.mse, mc.Plan(chunk=1 if exact else "all"))
    counted = None if ranks is None else Counted(ranks)
    records = mc.train(
        method, objective, mc.tasks.Sinusoid(), steps=1000, num_tasks=case["tasks"],
        ranks=counted, exact=exact,
    )  # fmt: skip
    times, spent, start, before = [], [], time.perf_counter(), time.process_time()
    for number, record in enumerate(records):
        now = time.process_time()
        if number >= 1:  # the first step warms up
            times.append(record.seconds)
            spent.append(now - before)
        before = now
        done = number >= 3 and time.perf_counter() - start > options.turn
        if largest(int(done), ranks):
            break
        if counted is not None:
            counted.seen.clear()
    traffic = {"large": dict.fromkeys(KINDS, 0), "small": dict.fromkeys(KINDS, 0)}
    for kind, size in () if counted is None else counted.seen:
        traffic["large" if size >= width**2 else "small"][kind] += 1
    return {**case, **summary(times), "processor": min(spent), "traffic": traffic}


def exchanges_of(ranks: Ranks, turn: float) -> Iterator[dict[str, Any]]:
    """Time sums and gathers alone, for each size, in rounds."""
    times: dict[tuple[int, str], list[float]] = {(s, k): [] for s in SIZES for k in KINDS}
    for _ in range(ROUNDS):
        for (size, kind), found in times.items():
            x = torch.ones(1, size // 4)
            exchange = partial(getattr(ranks, kind), x[0] if kind == "sum" else x)
            exchange()
            turns: list[float] = []
            while not largest(int(len(turns) >= 5 and sum(turns) > turn), ranks):
                start = time.perf_counter()
                exchange()
                turns.append(time.perf_counter() - start)
            found += turns
    for (size, kind), found in times.items():
        yield {"kind": kind, "world": ranks.count, "bytes": size, **summary(found)}


def summary(times: list[float]) -> dict[str, float]:
    """Return the best time, and what the others were like."""
    found = spread(times)
    return {
        "seconds": min(times), "median": found.median, "low": found.low, "high": found.high,
        "count": len(times),
    }  # fmt: skip


def company(world: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything with so many processes and return what the first one saw."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        out = Path(folder) / "found.json"
        work: Callable[[int], Callable[[Mark], None]] = lambda rank: partial(  # noqa: E731
            _work, rank, world, port, options, out
        )
        codes = [child.end() for child in [Child(work(rank)) for rank in range(world)]]
        if any(codes):
            raise SystemExit(f"{world} processes ended with {codes}")
        return json.loads(out.read_text())  # type: ignore[no-any-return]


def _work(
    rank: int, world: int, port: int, options: argparse.Namespace, out: Path, mark: Mark
) -> None:
    del mark
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    keep_freed()
    with joined() as ranks:
        found = [] if ranks is None else list(exchanges_of(ranks, options.turn / 20))
        steps = [{"world": world, **steps_of(c, options, ranks)} for c in cases(options)]
    if rank == 0:
        out.write_text(json.dumps({"steps": steps, "exchanges": found}))


def main() -> None:
    """Measure, print the exchanges of a step, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", type=int, default=WORLDS)
    parser.add_argument("--parameters", nargs="+", type=int, default=list(WIDTHS), choices=WIDTHS)
    parser.add_argument("--tasks", nargs="+", type=int, default=TASKS)
    parser.add_argument("--steps", type=int, default=2, help="inner steps")
    parser.add_argument("--turn", type=float, default=0.15, help="seconds for one time, at least")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = {**described(options), "cores": os.cpu_count(), "load": [os.getloadavg()[0]]}
    start = time.perf_counter()
    found = []
    for world in options.worlds:
        found.append(company(world, options))
        print(f"{world} processes measured after {time.perf_counter() - start:.0f} s", flush=True)
    record["cases"] = {k: [x for part in found for x in part[k]] for k in ("steps", "exchanges")}
    record["load"].append(os.getloadavg()[0])
    record["seconds"] = time.perf_counter() - start
    for step in record["cases"]["steps"]:
        print(
            f"{step['world']} processes, {step['method']:15} {step['mode']:13} "
            f"P {step['parameters']:8} tasks {step['tasks']:3} {1e3 * step['seconds']:8.2f} ms  "
            f"{step['traffic']}"
        )
    write(record, options.json)


if __name__ == "__main__":
    main()
