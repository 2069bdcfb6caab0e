"""The benchmark script runs, and its check of meta-gradients can fail."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "meta_step.py"
PEERS = ("higher", "torchopt")
MISSING = [name for name in PEERS if importlib.util.find_spec(name) is None]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*words: str, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script in its own interpreter, after some lines of Python."""
    code = (
        f"import sys, runpy; sys.path.insert(0, {str(SCRIPT.parent)!r}); {prelude}\n"
        f"sys.argv = {[str(SCRIPT), '--quick', '--threads', '1', '--cases', 'sine', *words]!r}\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: metaccord[bench]")
def test_contestants_agree_and_are_timed(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    done = run("--json", str(path))
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert record["versions"]["higher"] and record["machine"]["threads"] == 1
    sine = record["cases"]["sine"]
    assert {name.partition(" / ")[0].partition(":")[0] for name in sine["ratios"]} == {*PEERS}
    assert all(fact["agrees"] for facts in sine["checks"].values() for fact in facts.values())
    assert all(len(times) >= 2 and min(times) > 0 for times in sine["seconds"].values())


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: metaccord[bench]")
def test_a_first_order_gradient_fails_the_check() -> None:
    done = run(prelude="import metaccord as mc; mc.methods.maml = mc.methods.fomaml")
    assert done.returncode == 1
    assert "meta-gradients disagree: sine" in done.stderr


def test_a_missing_peer_is_named_and_skipped() -> None:
    done = run(prelude="sys.modules['higher'] = sys.modules['torchopt'] = None")
    assert done.returncode == 0, done.stderr
    for name in PEERS:
        assert f"{name}: not installed (pip install metaccord[bench])" in done.stdout
    assert " / " not in done.stdout
