"""``metaccord plot``."""

from __future__ import annotations

from metaccord.cli.options import Folder, Run


def plot(run: Run, *, out: Folder = None) -> int:
    """Draw the pictures of a run.

    Args:
        run: Folder of the run.
        out: Folder for the pictures (default: RUN/plots).
    """
    from metaccord.plots.of_runs import of_run  # matplotlib is heavy

    for path in of_run(run, out or run / "plots"):
        print(path)
    return 0
