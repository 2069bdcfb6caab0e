"""TensorBoard: event files in ``RUN/trackers/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metaccord import fs
from metaccord.trackers.base import Tracker

EVERY = 5  # seconds until numbers are on the disk


class TensorBoard(Tracker):
    """Event files; look at them with ``tensorboard --logdir RUN/trackers/tensorboard``.

    What earlier processes wrote is read first: their steps are not written again.

    Args:
        folder: Of the event files.
    """

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # heavy, and an extra

        super().__init__(_last(folder))
        fs.make(folder)
        self._writer = SummaryWriter(str(folder), flush_secs=EVERY)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Close the event file."""
        self._writer.close()


def _last(folder: Path) -> int:
    """Return the newest step in the event files, 0 without one."""
    if not folder.exists():
        return 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 1})
    found.Reload()
    steps = [found.Scalars(tag)[-1].step for tag in found.Tags()["scalars"]]
    return max(steps, default=0)
