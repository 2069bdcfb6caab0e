"""300 trainings in which one number becomes NaN or infinite: all ranks stop in the same step.

    python reliability/nonfinite.py --json results/reliability/nonfinite.json

In the data, the losses, the gradients, and in memory: weights, moments of the outer optimiser,
running statistics; and rates that are far too large. Nothing is updated or saved with it, and
``metaccord replay`` repeats the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcomes import main

from metaccord.selftest import Outcome
from metaccord.selftest.nonfinite import injections

COUNT = 300


def _checks(folder: Path, seed: int) -> Iterator[Outcome]:
    yield injections(folder, COUNT, seed=seed)


if __name__ == "__main__":
    main(__doc__, _checks)
