"""Several processes: the same bits as one, and the end of a training that loses one of them.

python reliability/processes.py --json results/reliability/processes.json
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcomes import main

from metaccord.selftest import Outcome
from metaccord.selftest.company import deaths, same_bits

STEPS, DEATHS = 200, 180


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    for name in ("bits", "deaths"):
        (folder / name).mkdir()
    yield same_bits(folder / "bits", steps=STEPS)
    yield deaths(folder / "deaths", DEATHS, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
