"""Make the page and the picture of benchmarks/ranks.py from its record.

python benchmarks/ranks_report.py results/ranks
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchanges import KINDS, errors, fitted, line, step_seconds
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from metaccord.plots import style

Case = dict[str, Any]
SHOWN = {"parameters": 100_000, "tasks": 48}
BEYOND = (1, 2, 4, 8, 16, 48)
IDLE = 0.7  # load before a benchmark on a quiet machine; what was just ended still counts in it
NAMES = {"maml": "MAML", "maml+agreement": "+ agreement", "maml+sharing": "+ sharing"}
COLOURS = {**style.KNOWN, "maml+sharing": style.COLOURS[0]}
NOTE = (
    "Left: one exchange alone, best times; points of 2 processes are fitted (filled) or held out "
    "(hollow), 4 processes share 2 cores and are all held out; lines are the model. Middle, right: "
    "a meta-step of 48 tasks and 100,000 parameters; crosses are seconds on 2 cores, points "
    "processor time of one process, lines the model for a core per process. {facts}"
)


class Model:
    """The links and single-process times of a record, and how wrong they are."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record, self.exchanges = record, record["cases"]["exchanges"]
        self.steps: list[Case] = record["cases"]["steps"]
        self.sizes = sorted({p["bytes"] for p in self.exchanges})
        self.held = {(2, size) for size in self.sizes[1::2]} | {(4, size) for size in self.sizes}
        known = [p for p in self.exchanges if (p["world"], p["bytes"]) not in self.held]
        self.links = {kind: fitted(kind, known) for kind in KINDS}
        self.alone = {
            self._key(s): line({x["tasks"]: x["processor"] for x in self._alike(s) if _single(x)})
            for s in self.steps
        }

    def all_errors(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield what was not fitted, and the errors of the model there."""
        for world in (2, 4):
            held = [p for p in self.exchanges if p["world"] == world and self.is_held(p)]
            said = [self.links[p["kind"]].seconds(p["kind"], world, p["bytes"]) for p in held]
            name = "every second size" if world == 2 else "every size"
            pairs = [(a, p["seconds"]) for a, p in zip(said, held, strict=True)]
            yield f"exchanges, {world} processes, {name}", errors(pairs)
        for what, key in (("processor time", "processor"), ("time", "seconds")):
            for world in (2, 4):
                cores = world if key == "processor" else self.record["cores"]
                mine = [s for s in self.steps if s["world"] == world]
                pairs = [(self.step(s, world, cores), s[key]) for s in mine]
                yield f"meta-steps, {what}, {world} processes", errors(pairs)

    def is_held(self, point: Case) -> bool:
        """Say whether an exchange took no part in the fit."""
        return (point["world"], point["bytes"]) in self.held

    def step(self, case: Case, world: int, cores: int) -> float:
        """Return the modelled seconds of a meta-step."""
        return step_seconds(
            self.alone[self._key(case)], self.traffic(case), self.links,
            size=4 * case["parameters"], tasks=case["tasks"], world=world, cores=cores,
        )  # fmt: skip

    def traffic(self, case: Case) -> dict[str, dict[str, int]]:
        """Return the exchanges of a step, as counted with two processes."""
        found = [s["traffic"] for s in self._alike(case) if s["world"] == 2]
        return found[0]  # type: ignore[no-any-return]

    def _key(self, case: Case) -> tuple[Any, ...]:
        return case["method"], case["mode"], case["parameters"]

    def _alike(self, case: Case) -> list[Case]:
        return [s for s in self.steps if self._key(s) == self._key(case)]


def _single(case: Case) -> bool:
    return bool(case["world"] == 1)


@style.styled
def picture(model: Model) -> Figure:
    """Return exchanges and meta-steps, measured and modelled."""
    record = model.record
    facts = (
        f"{record['machine']['cpu']}, load {record['load'][0]:.1f} before, {record['date'][:10]}."
    )
    title, note = "What spreading tasks over processes costs", NOTE.format(facts=facts)
    figure, axes = style.canvas(title, note, (13.5, 5.0), columns=3)
    _exchanges(axes[0], model)
    for panel, mode in zip(axes[1:], ("fast", "deterministic"), strict=True):
        _meta_steps(panel, model, mode)
    top = max(panel.get_ylim()[1] for panel in axes[1:])
    low = min(panel.get_ylim()[0] for panel in axes[1:])
    for panel in axes[1:]:
        panel.set_ylim(low, top)
        style.label_ends(panel, panel.ends)  # type: ignore[attr-defined]
    return figure


def _exchanges(axes: Axes, model: Model) -> None:
    ends = []
    for colour, (kind, world) in zip(
        style.COLOURS, [(k, w) for w in (2, 4) for k in KINDS], strict=False
    ):
        points = [p for p in model.exchanges if (p["kind"], p["world"]) == (kind, world)]
        for p in points:
            face = "white" if model.is_held(p) else colour
            axes.plot(p["bytes"], 1e3 * p["seconds"], "o", color=colour, mfc=face, ms=5)
        link = model.links[kind]
        said = [1e3 * link.seconds(kind, world, size) for size in model.sizes]
        axes.plot(model.sizes, said, color=colour)
        ends.append((said[-1], f"{kind}, {world}", colour))
    axes.set_xscale("log")
    style.log_scale(axes)
    axes.yaxis.set_major_locator(LogLocator())
    ticks = {4: "4", 1024: "1 KiB", 1 << 20: "1 MiB", 1 << 24: "16 MiB"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(model.sizes[0] / 2, model.sizes[-1] * 1.6)
    axes.set_ylim(*axes.get_ylim())
    axes.set_title("one exchange, ms")
    axes.set_xlabel("bytes from each process")
    style.label_ends(axes, ends)


def _meta_steps(axes: Axes, model: Model, mode: str) -> None:
    ends = []
    for name, words in NAMES.items():
        colour = COLOURS[name]
        case = {"method": name, "mode": mode, **SHOWN}
        seen = [s for s in model.steps if all(s[k] == v for k, v in case.items())]
        worlds = [s["world"] for s in seen]
        axes.plot(worlds, [1e3 * s["seconds"] for s in seen], "x", color=colour, ms=6)
        axes.plot(worlds, [1e3 * s["processor"] for s in seen], "o", color=colour, ms=6)
        said = [1e3 * model.step(case, world, world) for world in BEYOND]
        axes.plot(BEYOND, said, color=colour)
        ends.append((said[-1], words, colour))
    axes.set_xscale("log", base=2)
    style.log_scale(axes)
    axes.set_xticks(BEYOND, [str(world) for world in BEYOND])
    axes.set_xlim(0.9, BEYOND[-1])
    axes.set_title(f"one meta-step, {mode}, ms")
    axes.set_xlabel("processes")
    axes.ends = ends  # type: ignore[attr-defined]


def page(model: Model) -> Iterator[str]:
    """Yield the lines of the page."""
    record = model.record
    yield "# What spreading tasks over processes costs\n"
    yield "`python benchmarks/ranks.py --json results/ranks/record.json` (measured in "
    yield f"{record['seconds']:.0f} s), `python benchmarks/ranks_report.py results/ranks`\n"
    yield (
        f"{record['machine']['cpu']}, {record['cores']} cores, one thread per process, torch "
        f"{record['versions']['torch']}, gloo on one machine, {record['date'][:10]}, commit "
        f"{_commit(record)}. {_company(record)} The best of repeated times is shown, median and "
        "quartiles are in the record. More processes than cores take turns: read times of 4 "
        "processes on 2 cores as upper bounds; processor time of one process suffers less. MLP "
        f"with two tanh layers on sine waves, 10 shots, {record['options']['steps']} inner steps, "
        "float32.\n"
    )
    yield "![Exchanges and meta-steps](cost.png)\n"
    yield "## Exchanges of a meta-step, counted\n"
    yield "| method | mode | of all parameters | of a few numbers |\n|---|---|---|---|"
    for mode in ("fast", "deterministic"):
        for name in NAMES:
            found = model.traffic({"method": name, "mode": mode, **SHOWN})
            told = [_told(found[which]) for which in ("large", "small")]
            yield f"| {name} | {mode} | {told[0]} | {told[1]} |"
    yield "\n## Milliseconds of a meta-step, measured\n"
    yield "Time, and in brackets processor time of one process.\n"
    yield "| method | mode | parameters | tasks | 1 process | 2 | 4 |"
    yield "|---|---|---|---|---|---|---|"
    for case in filter(_single, model.steps):
        told = [_milliseconds(model, case, world) for world in (1, 2, 4)]
        facts = f"{case['method']} | {case['mode']} | {case['parameters']:,} | {case['tasks']}"
        yield f"| {facts} | {' | '.join(told)} |"
    yield from _modelled(model)


def _modelled(model: Model) -> Iterator[str]:
    yield "\n## The model\n"
    yield "A message takes latency + bytes / bandwidth. A sum over R processes is 2 (R - 1)"
    yield "messages of the R-th part, a gather R - 1 messages of one process's rows. A meta-step is"
    yield "processor time of one process with its share of tasks (a line through what one process"
    yield "alone took) plus its exchanges; processes that share cores take turns. Latency and"
    yield "bandwidth are fitted to exchanges of 2 processes on 2 cores.\n"
    yield "| exchange | latency, ms | bandwidth, MB/s |\n|---|---|---|"
    for kind, link in model.links.items():
        yield f"| {kind} | {1e3 * link.latency:.3f} | {1e-6 / link.per_byte:,.0f} |"
    yield "\nHow far off it is, as a factor, on points that were not fitted:\n"
    yield "| what | points | median | 90 % | worst |\n|---|---|---|---|---|"
    for name, found in model.all_errors():
        told = " | ".join(f"{found[k]:.2f}" for k in ("median", "ninety_percent", "worst"))
        yield f"| {name} | {found['count']} | {told} |"
    yield "\nBeyond what was measured: milliseconds with a core per process, 48 tasks, 100,000"
    yield "parameters.\n"
    yield f"| method | mode | {' | '.join(map(str, BEYOND))} |\n|---|---{'|---' * len(BEYOND)}|"
    for mode in ("fast", "deterministic"):
        for name in NAMES:
            case = {"method": name, "mode": mode, **SHOWN}
            told = [f"{1e3 * model.step(case, world, world):.0f}" for world in BEYOND]
            yield f"| {name} | {mode} | {' | '.join(told)} |"
    yield "\nThese are estimates from one machine's loopback. A network has another latency and"
    yield "bandwidth: put them into `Link` of `benchmarks/exchanges.py`."


def _commit(record: dict[str, Any]) -> str:
    name, _, changed = (record["commit"] or "unknown").partition("-")
    return f"{name[:10]}{' with changes' if changed else ''}"


def _company(record: dict[str, Any]) -> str:
    """Say whether other work ran beside the benchmark, by the load before it."""
    load = record["load"][0]
    if load < IDLE:
        return f"Nothing else ran (load {load:.1f} before it)."
    return f"**Other work ran meanwhile** (load {load:.1f} before it): all times are upper bounds."


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items() if n) or "none"


def _milliseconds(model: Model, case: Case, world: int) -> str:
    names = ("method", "mode", "parameters", "tasks")
    wanted = {**{k: case[k] for k in names}, "world": world}
    (found,) = [s for s in model.steps if all(s[k] == v for k, v in wanted.items())]
    return f"{1e3 * found['seconds']:.1f} ({1e3 * found['processor']:.1f})"


def main() -> None:
    """Write page and picture beside the record."""
    folder = Path(sys.argv[1])
    model = Model(json.loads((folder / "record.json").read_text()))
    (folder / "README.md").write_text("\n".join(page(model)) + "\n")
    (folder / "cost.png").write_bytes(style.encode(picture(model), "png"))


if __name__ == "__main__":
    main()
