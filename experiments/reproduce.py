"""How much each part of a protocol moves the same number: Omniglot, 5-way 1-shot, a small MAML.

    python experiments/reproduce.py results/reproduce

Three runs (seeds 0 to 2) are trained briefly, then measured again and again with one thing
changed. Writes record.json and README.md; runs in runs/reproduce are taken up again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import metaccord as mc
from metaccord.statistics import over_seeds

SETTINGS = ("num_tasks=8", "steps=400", "model.hidden=32", "plan.chunk=1", "validate_every=0")
SEEDS = range(3)


def changes(protocol: mc.Protocol) -> Iterator[tuple[str, mc.Protocol, dict[str, Any]]]:
    """Yield what is changed, the protocol, and changed settings of the tasks."""
    yield "as it is", protocol, {}
    for word in ("inductive", "frozen"):
        yield f"statistics: {word}", replace(protocol, statistics=word), {}
    for steps in (0, 3, 5):
        yield f"inner steps: {steps} (trained with 1)", replace(protocol, steps=steps), {}
    yield "label orders: 5", replace(protocol, permutations=5), {}
    for queries in (1, 15):
        yield f"queries per class: {queries}", protocol, {"queries": queries}
    yield "rotations: none", protocol, {"rotations": "none"}
    yield "a leak: another split, most of it trained on", protocol, {"split_seed": 1}
    yield "seed of the test tasks: 1", replace(protocol, seed=1), {}


def one_seed(seed: int, folder: Path, settings: tuple[str, ...], count: int) -> dict[str, float]:
    """Train one run and measure it under every change; what is there is not done again.

    Returns:
        Seconds of measuring by change, of what was measured now.
    """
    torch.set_num_threads(1)
    made = mc.default("omniglot").changed([*settings, f"seed={seed}"])
    place, spent = folder / f"seed-{seed}", {}
    for _ in mc.run(made, place, resume=(place / "run.json").exists()):
        pass
    learner = mc.load(place)
    for name, protocol, tasks in changes(mc.Protocol(tasks=count)):
        if not file_of(place, name).exists():
            begun, source = time.perf_counter(), replace(made.tasks, **tasks)
            scores = mc.evaluate(
                learner.method, learner.objective, learner.state, source, protocol
            )  # fmt: skip
            scores.write(file_of(place, name))
            spent[name] = round(time.perf_counter() - begun, 1)
    return spent


def file_of(place: Path, name: str) -> Path:
    """Return where the scores of one change are kept."""
    return place / "changes" / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.json"


def lines(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return one line for each change."""
    found: list[dict[str, Any]] = []
    reference: list[mc.Scores] = []
    for name, _, _ in changes(mc.Protocol(tasks=count)):
        scores = [mc.Scores.read(file_of(folder / f"seed-{seed}", name)) for seed in SEEDS]
        reference = reference or scores
        gap = mc.compare(scores, reference, names=(name, "as it is"), different_protocols=True)
        accuracy = [one.accuracy.mean for one in scores if one.accuracy is not None]
        ece = [one.calibration.ece for one in scores if one.calibration is not None]
        line = {"change": name, "how": scores[0].how, "accuracies": accuracy, "ece": ece}
        pairs = zip(accuracy, found[0]["accuracies"] if found else accuracy, strict=True)
        line["by_seed"] = over_seeds([a - b for a, b in pairs])._asdict()
        line["comparison"] = gap.json()
        print(gap, "\n", flush=True)
        found.append(line)
    return found


def page(record: dict[str, Any]) -> str:
    """Return the record as Markdown."""
    first = record["lines"][0]
    means = [100 * x for x in first["accuracies"]]
    rows = [
        "| what is changed | accuracy, % | change, points | for new test tasks, too | test tasks "
        "| ECE, % |",
        "|---|---|---|---|---|---|",
    ]
    for line in record["lines"]:
        found = line["comparison"]
        gap, anew = line["by_seed"], found["anew"]
        same = line is first
        cells = [
            line["change"],
            f"{100 * found['ours']['mean']:.2f} ± {100 * found['ours']['half']:.2f}",
            "" if same else f"{100 * gap['mean']:+.2f} ± {100 * gap['half']:.2f}",
            "" if same or anew is None else f"± {100 * anew['half']:.2f}",
            "" if same else "the same" if found["paired"] else "others",
            f"{100 * sum(line['ece']) / len(line['ece']):.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "# What moves a number",
            "",
            "The same three trained models, measured again with one thing changed. Omniglot, "
            f"5-way 1-shot, second-order MAML with 1 inner step, {record['training']}. Intervals "
            "are 95 %, by Student's t over the 3 seeds, each model against itself; *for new test "
            "tasks, too* adds what the test tasks have in common. Short trainings of a small "
            "network: look at the size of the changes, not at the level.",
            "",
            *rows,
            "",
            f"The three seeds alone: {', '.join(f'{x:.2f}' for x in means)} %. The interval over "
            f"{record['tasks']} tasks of one of them is "
            f"± {100 * record['half_over_tasks']:.2f} points.",
            "",
            f"As it is: {first['how']}.",
            "",
            "## How",
            "",
            f"`{record['command']}` on {record['hardware']}; metaccord "
            f"{record['versions']['metaccord']}, torch {record['versions']['torch']}, "
            f"{record['date']}.",
            "",
        ]
    )


def main() -> None:
    """Train, measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--settings", nargs="*", default=())
    given = parser.parse_args()
    settings = (*SETTINGS, *given.settings)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        jobs = [pool.submit(one_seed, s, given.runs, settings, given.tasks) for s in SEEDS]
        spent = [job.result() for job in jobs]
    found = lines(given.runs, given.tasks)
    made = mc.default("omniglot").changed(list(settings))
    first = mc.Scores.read(file_of(given.runs / "seed-0", "as it is"))
    assert first.accuracy is not None
    record = {
        "command": " ".join(
            ["python experiments/reproduce.py", given.out.as_posix(), f"--tasks {given.tasks}"]
            + ([f"--settings {' '.join(given.settings)}"] if given.settings else [])
        ),
        "training": f"{made.steps} meta-steps of {made.num_tasks} tasks, "
        f"{made.tree()['model'].get('hidden', 64)} filters",
        "tasks": given.tasks,
        "half_over_tasks": first.accuracy.half,
        "seeds": list(SEEDS),
        "seconds": spent,
        "date": time.strftime("%Y-%m-%d"),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, --workers {given.workers}, "
        "one thread each",
        "versions": {"torch": torch.__version__, "metaccord": mc.__version__},
        "experiment": made.tree(),
        "lines": found,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    (given.out / "README.md").write_text(page(record))


if __name__ == "__main__":
    main()
