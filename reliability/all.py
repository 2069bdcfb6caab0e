"""Run every script of this folder, one after the other, and print one table.

    python reliability/all.py            # skips what has a kept record of this commit
    python reliability/all.py --again    # runs everything

Each script writes results/reliability/NAME.json; this one writes all.json beside them. With files
changed since the last commit nothing is skipped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from outcomes import HERE, commit

RECORDS = HERE.parent / "results" / "reliability"


def scripts() -> list[Path]:
    """Return the scripts of the folder; modules that they share are none."""
    found = sorted(HERE.glob("*.py"))
    return [path for path in found if path != Path(__file__) and "__main__" in path.read_text()]


def earlier(name: str, now: str | None) -> dict[str, Any]:
    """Return the record of a script if it is of this commit, else nothing.

    Args:
        name: Of the script.
        now: The commit, marked if files were changed.
    """
    path = RECORDS / f"{name}.json"
    if now is None or now.endswith("-dirty") or not path.is_file():
        return {}
    record = json.loads(path.read_text())
    return record if str(record.get("commit")).removesuffix("-dirty") == now else {}


def is_kept(record: dict[str, Any], row: dict[str, Any]) -> bool:
    """Say whether a record is there whose script ended well, or whose cases are all right."""
    if row:
        return bool(record) and row["code"] == 0
    cases = record.get("cases", {}).values()
    return bool(cases) and all(isinstance(case, dict) and case.get("ok") for case in cases)


def run(path: Path) -> dict[str, Any]:
    """Run one script and return its exit code, seconds and last line."""
    start = time.perf_counter()
    words = (sys.executable, str(path), "--json", str(RECORDS / f"{path.stem}.json"))
    found = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in found.stdout.splitlines() if line.strip()]
    for line in lines:
        print(f"  {line}", flush=True)
    return {
        "code": found.returncode,
        "seconds": round(time.perf_counter() - start),
        "said": lines[-1][:300] if lines else "",
    }


def main() -> int:
    """Run what is not done and return the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--again", action="store_true", help="run also what has a kept record")
    again = parser.parse_args().again
    now = commit()
    RECORDS.mkdir(parents=True, exist_ok=True)
    table = RECORDS / "all.json"
    before = json.loads(table.read_text()) if table.is_file() else {}
    rows = before.get("scripts", {}) if before.get("commit") == now else {}
    for path in scripts():
        record = earlier(path.stem, now)
        if not again and is_kept(record, rows.get(path.stem, {})):
            continue
        if again or not record:  # A script may go on with a record, but not with another commit's.
            (RECORDS / f"{path.stem}.json").unlink(missing_ok=True)
        print(path.stem, flush=True)
        rows[path.stem] = run(path)
        table.write_text(json.dumps({"commit": now, "scripts": rows}, indent=1) + "\n")
    width = max(map(len, rows), default=0)
    for name, row in rows.items():
        verdict = "kept" if row["code"] == 0 else f"BROKEN ({row['code']})"
        print(f"{name:{width}}  {verdict:10}  {row['seconds']:5} s  {row['said']}")
    return next((row["code"] for row in rows.values() if row["code"]), 0)


if __name__ == "__main__":
    raise SystemExit(main())
