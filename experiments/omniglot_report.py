"""Write results/omniglot/README.md from the records of omniglot.py.

python experiments/omniglot_report.py results/omniglot
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from metaccord.serial import from_tree

NOTES = """
Reading: the 5-way rows are 5-way 1-shot on 600 tasks of unseen characters (random 1200/423
partition, one random quarter turn per class and task, 5 queries per class), the 20-way rows 20-way
1-shot on 600 tasks of the evaluation set (no character or alphabet of it was trained on). One seed
each: the intervals are over tasks and say nothing about other seeds. People make 4.5 % errors on
the official runs (Lake, Salakhutdinov, Tenenbaum 2015), which are 20 tasks of 20 queries each.
Under the transductive protocol batch normalisation sees all queries of a task together; in the
official runs these are one drawing of each of the 20 characters.
"""


def rows(record: dict, scores: dict, what: str) -> list[str]:
    """Return one line per protocol."""
    found = []
    for protocol, score in scores.items():
        mean, half = (100 * score["accuracy"][key] for key in ("mean", "half"))
        name = from_tree(record["experiment"]["method"]).label
        found.append(f"| {what} | {name} | {protocol} | {mean:.2f} ± {half:.2f} |")
    return found


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1])
    lines = [
        "| tasks | method | protocol | accuracy %, 95 % interval over tasks |",
        "|---|---|---|---|",
    ]
    made = []
    for path in sorted(folder.glob("*-seed-*.json")):
        record = json.loads(path.read_text())
        experiment = record["experiment"]
        ways = f"{experiment['tasks']['ways']}-way 1-shot"
        lines += rows(record, record["scores"], ways)
        lines += rows(record, record["official_one_shot_runs"], "official 20-way runs")
        made.append(
            f"- `{record['command']}`: {experiment['steps']} meta-steps of "
            f"{experiment['num_tasks']} tasks in {record['seconds_of_training']} s "
            f"({record['hardware']}, torch {record['versions']['torch']}, {record['date']})"
        )
    parts = ["# Omniglot", NOTES.strip(), "\n".join(lines), "## How", "\n".join(made)]
    paired = folder / "paired.txt"
    if paired.exists():
        command = (
            "metaccord compare runs/omniglot-maml-0 runs/omniglot-maml+agreement-0 --tasks 600"
        )
        parts += ["## On the same 600 tasks", f"`{command}`", f"```text\n{paired.read_text()}```"]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
