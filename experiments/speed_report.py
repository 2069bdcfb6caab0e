"""Write results/speed/README.md from the records of benchmarks/meta_step.py.

python experiments/speed_report.py results/speed
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

INTRO = """
The same second-order meta-step in metaccord, `higher` and `torchopt`, side by side in one process,
round robin; meta-gradients agree to 1e-10 in float64 (benchmarks/README.md says how it is
measured). Milliseconds are medians; a ratio above 1 means that metaccord was faster. The peers run
in their fastest correct idiom and are not compiled.
"""


def case_lines(case: dict) -> list[str]:
    """Return the rows of one contest."""
    lines = ["| contestant | median ms | rounds |", "|---|---|---|"]
    for name, seconds in case["seconds"].items():
        lines.append(f"| {name} | {1e3 * median(seconds):.2f} | {len(seconds)} |")
    lines.append("")
    for pair in case.get("ratios", {}):
        ours, peer = (case["seconds"][name] for name in reversed(pair.split(" / ")))
        lines.append(f"- {median(peer) / median(ours):.2f} x: {pair}")
    if "ratio" in case:
        plain, agreement = case["seconds"].values()
        lines.append(f"- {median(agreement) / median(plain):.2f} x the plain mean")
    for name, size in case.get("peak_bytes", case.get("bytes", {})).items():
        lines.append(f"- {name}: peak {size / 2**20:.1f} MiB")
    return lines


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1])
    parts = ["# Speed", INTRO.strip()]
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        machine, versions = record["machine"], record["versions"]
        where = f"{machine['cpu']}, {machine['threads']} threads, torch {versions['torch']}"
        for name, case in record["cases"].items():
            if not case["ok"]:
                continue
            found = {"": case} if "seconds" in case else case
            for inner, one in found.items():
                if isinstance(one, dict):
                    loops = ", peers looping over tasks" if record["options"].get("loops") else ""
                    parts.append(f"## {name}{': ' if inner else ''}{inner}{loops}")
                    parts.append("\n".join(case_lines(one)))
            options = record["options"]
            rounds = f" --rounds {options['rounds']}" if options["rounds"] else ""
            rounds += " --loops" if options.get("loops") else ""
            parts.append(
                f"`python benchmarks/meta_step.py --cases {name}{rounds}`, {where}, higher "
                f"{versions['higher']}, torchopt {versions['torchopt']}, {record['date'][:10]}, "
                f"commit {record['commit'][:10]}"
            )
    if (folder / "discussion.md").exists():
        parts.append((folder / "discussion.md").read_text().strip())
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
