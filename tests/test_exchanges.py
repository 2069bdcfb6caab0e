"""The model of exchanges finds what made the times, and the benchmark runs with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exchanges import KINDS, Link, errors, fitted, line, step_seconds

ROOT = Path(__file__).parents[1]
LINKS = {"sum": Link(3e-5, 4e-10), "gather": Link(5e-5, 9e-10)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_finds_latency_and_bandwidth(kind: str) -> None:
    points = [
        {"kind": k, "world": w, "bytes": b, "seconds": LINKS[k].seconds(k, w, b)}
        for k in KINDS
        for w in (2, 3)
        for b in (4, 4096, 1 << 24)
    ]
    assert fitted(kind, points) == pytest.approx(LINKS[kind])


def test_messages_of_a_ring() -> None:
    """Two processes: a sum passes both halves, a gather all rows once; more need more messages."""
    assert Link(1.0, 0.0).seconds("sum", 2, 100) == 2
    assert Link(1.0, 0.0).seconds("gather", 5, 100) == 4
    assert Link(0.0, 1.0).seconds("sum", 4, 100) == pytest.approx(150)
    assert Link(0.0, 1.0).seconds("gather", 4, 100) == 300


def test_a_step_is_its_share_and_its_exchanges() -> None:
    traffic = {"large": {"sum": 1, "gather": 0}, "small": {"sum": 0, "gather": 1}}
    alone = line({4: 5.0, 12: 13.0, 48: 49.0})
    assert alone == pytest.approx((1.0, 1.0))
    sizes = {"size": 4000, "tasks": 12}
    assert step_seconds(alone, traffic, LINKS, **sizes, world=1, cores=2) == pytest.approx(13)
    found = step_seconds(alone, traffic, LINKS, **sizes, world=4, cores=2)
    expected = LINKS["sum"].seconds("sum", 4, 4000) + LINKS["gather"].seconds("gather", 4, 24)
    assert found == pytest.approx((1 + 3) * 2 + expected)


def test_errors_are_factors_either_way() -> None:
    assert errors([(1.0, 2.0), (2.0, 1.0)]) == pytest.approx(
        {"count": 2, "median": 2, "ninety_percent": 2, "worst": 2}
    )


@pytest.mark.long
def test_the_benchmark_counts_and_reports(tmp_path: Path) -> None:
    """Two processes; the report needs all cases, so it is made from the record that is kept."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = ["--worlds", "1", "2", "--parameters", "1000", "--tasks", "4", "--turn", "0.01"]
    record = tmp_path / "record.json"
    script = [sys.executable, str(ROOT / "benchmarks" / "ranks.py")]
    subprocess.run([*script, *words, "--json", str(record)], check=True, env=env, timeout=120)
    steps = json.loads(record.read_text())["cases"]["steps"]
    large = {
        (s["method"], s["mode"]): s["traffic"]["large"] for s in steps if s["world"] == 2
    }  # exchanges as long as the parameters
    for name, count in (("maml", 1), ("maml+agreement", 2), ("maml+sharing", 4)):
        assert large[name, "fast"] == {"sum": count, "gather": 0}
        assert large[name, "deterministic"] == {"sum": 0, "gather": count}
    kept = ROOT / "results" / "ranks" / "record.json"
    record.write_bytes(kept.read_bytes())
    script = [sys.executable, str(ROOT / "benchmarks" / "ranks_report.py"), str(tmp_path)]
    subprocess.run(script, check=True, env=env, timeout=120)
    assert (tmp_path / "README.md").read_text() == (kept.parent / "README.md").read_text()
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
