"""Mutation testing of the core: of 500 small changes the tests notice at least 80 %.

    nice python reliability/mutants.py --json results/reliability/mutants.json [--only FILE ...]

The sample is drawn with the seed, once: a mutant whose line is gone is replaced by another. Each
mutant lives in a scratch copy of the repository and is judged by a forked child that runs the tests
of ``mutant_tests.py``, most specific first, up to the first that fails. Verdicts are kept line by
line beside the record, so that an interrupted judgement goes on; ``--again`` judges the survivors
once more. A mutant that changes nothing anyone could see is declared, with a reason, in
``equivalent_mutants.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import Bench, Verdict
from mutant_tests import TESTS
from mutations import Mutant, mutants
from outcomes import HERE, described, line, write

from metaccord.selftest import Outcome

ROOT = HERE.parent
PACKAGE = "src/metaccord"
COUNT, BOUND = 500, 0.2
EQUIVALENT = HERE / "equivalent_mutants.json"


def placed(root: Path, file: str) -> dict[str, Mutant]:
    """Return the mutants of a file by their place: the line's text, what becomes of it, how often.

    What changes elsewhere in the file leaves a place as it is.

    Args:
        root: Of a repository.
        file: Path below the package.
    """
    source, seen = (root / PACKAGE / file).read_text(), Counter[str]()
    lines, found = source.splitlines(), {}
    for mutant in mutants(file, source):
        line = lines[mutant.line - 1].strip()
        text = f"{file}: {line}: {mutant.kind}: {mutant.before} -> {mutant.after}"
        seen[text] += 1
        found[f"{text} ({seen[text]})"] = mutant
    return found


def sampled(
    root: Path, files: Sequence[str], count: int, seed: int, before: Collection[str] = ()
) -> list[Mutant]:
    """Draw mutants of some files; the first n of a sample are a sample of n.

    Args:
        root: Of a repository.
        files: Paths below the package.
        count: How many mutants, at most.
        seed: Of the draw.
        before: Places that were drawn before, which come first: only what is gone is replaced.
    """
    every = {place: m for f in files for place, m in placed(root, f).items()}

    def turn(place: str) -> tuple[bool, str]:
        return place not in before, hashlib.sha256(f"{seed}: {place}".encode()).hexdigest()

    return [every[place] for place in sorted(every, key=turn)][:count]


def entries(kept: Path | None) -> list[dict[str, Any]]:
    """Return the verdicts that were kept, the last ones last."""
    if kept is None or not kept.is_file():
        return []
    return [json.loads(line) for line in kept.read_text().splitlines()]


def equivalent(root: Path, mutant: Mutant, declared: list[dict[str, str]]) -> str | None:
    """Return the reason why a mutant is declared to change nothing, if it is.

    Args:
        root: Of the repository.
        mutant: The change.
        declared: Entries with ``file``, ``code`` (the whole line), ``after`` and ``reason``.
    """
    text = (root / PACKAGE / mutant.file).read_text().splitlines()[mutant.line - 1].strip()
    here = {"file": mutant.file, "code": text, "after": mutant.after}
    return next((each["reason"] for each in declared if here.items() <= each.items()), None)


def judged(
    bench: Bench,
    wanted: Sequence[Mutant],
    kept: Path | None,
    again: bool = False,
    until: float = float("inf"),
    settled: Collection[str] = (),
) -> Iterator[tuple[Mutant, Verdict]]:
    """Judge mutants, those with a kept verdict of the same source excepted.

    Args:
        bench: Where they are judged.
        wanted: The mutants.
        kept: A file of verdicts, one JSON object a line; it grows.
        again: Judge survivors even if a verdict was kept.
        until: When to stop judging, on the clock of ``perf_counter``; kept verdicts still count.
        settled: Names of those that are not judged again.
    """
    known = {(e["name"], e["source"]): Verdict(*e["verdict"]) for e in entries(kept)}
    for mutant in wanted:
        content = (bench.root / PACKAGE / mutant.file).read_bytes()
        source = hashlib.sha256(content).hexdigest()[:16]
        verdict = known.get((mutant.name, source))
        if time.perf_counter() > until:
            if verdict is None:
                continue
        elif verdict is None or (again and not verdict.killed and mutant.name not in settled):
            verdict = bench.judge(PACKAGE, mutant, TESTS[mutant.file])
            if kept is not None:
                names = {m.name: place for place, m in placed(bench.root, mutant.file).items()}
                entry: dict[str, Any] = {
                    "name": mutant.name,
                    "place": names[mutant.name],
                    "source": source,
                }
                entry["verdict"] = verdict
                with kept.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        yield mutant, verdict


def outcome(
    verdicts: list[tuple[Mutant, Verdict]], reasons: dict[str, str], count: int, seconds: float
) -> Outcome:
    """Return the share of survivors among the mutants that are not declared equivalent."""
    counted = [verdict for mutant, verdict in verdicts if mutant.name not in reasons]
    alive = sum(not verdict.killed for verdict in counted)
    detail = (
        f"{len(counted) - alive} of {len(counted)} killed, {alive} survived, "
        f"{len(verdicts) - len(counted)} declared equivalent"
    )
    return Outcome(
        "mutants", "the tests notice at least 80 % of small changes of the core", count,
        len(verdicts), alive / max(1, len(counted)), BOUND, seconds, detail,
    )  # fmt: skip


def main() -> int:
    """Judge the sample and write the record; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--only", nargs="+", choices=TESTS, default=list(TESTS), metavar="FILE")
    parser.add_argument("--again", action="store_true", help="judge undeclared survivors once more")
    options = parser.parse_args()
    start, record = time.perf_counter(), described(options)
    kept = options.json.with_suffix(".jsonl") if options.json else None
    before = {entry["place"] for entry in entries(kept)}
    wanted = sampled(ROOT, options.only, options.count, options.seed, before)
    declared = json.loads(EQUIVALENT.read_text())
    reasons = {m.name: why for m in wanted if (why := equivalent(ROOT, m, declared))}
    verdicts, until = [], start + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(ROOT, Path(folder) / "copy")
        for mutant, verdict in judged(bench, wanted, kept, options.again, until, reasons):
            verdicts.append((mutant, verdict))
            if not verdict.killed and mutant.name not in reasons:
                print(f"{mutant.file}:{mutant.line} {mutant.before} -> {mutant.after}", flush=True)
    found = outcome(verdicts, reasons, len(wanted), time.perf_counter() - start)
    print(line(found))
    record["cases"]["mutants"] = {**asdict(found), "ok": found.ok}
    record |= _tables(verdicts, reasons) | {"red without a change": bench.red}
    write(record, options.json)
    return found.exit_code


def _tables(verdicts: list[tuple[Mutant, Verdict]], reasons: dict[str, str]) -> dict[str, Any]:
    survivors = [
        {"file": m.file, "line": m.line, "kind": m.kind, "before": m.before, "after": m.after,
         "equivalent": reasons.get(m.name)}
        for m, verdict in verdicts if not verdict.killed
    ]  # fmt: skip
    return {
        "verdicts": Counter(verdict.word for _, verdict in verdicts),
        "judged": dict(sorted(Counter(m.file for m, _ in verdicts).items())),
        "killed": dict(sorted(Counter(m.file for m, v in verdicts if v.killed).items())),
        "survivors": survivors,
    }


if __name__ == "__main__":
    raise SystemExit(main())
