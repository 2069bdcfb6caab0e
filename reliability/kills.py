"""1,000 ``kill -9`` at random instants of real trainings, each of which goes on and ends the same.

python reliability/kills.py --json results/reliability/kills.json
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcomes import main

from metaccord.selftest import Outcome
from metaccord.selftest.kills import fresh_kills, kills

FORKED, FRESH = 1000, 30


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    for name in ("forked", "fresh"):
        (folder / name).mkdir()
    yield kills(folder / "forked", FORKED, seed=seed)
    yield fresh_kills(folder / "fresh", FRESH, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
