"""What holds for a whole process: only the command line, whose process it is, sets it."""

from __future__ import annotations

import torch

from metaccord.experiment import Experiment
from metaccord.memory import keep_freed


def tune_process(experiment: Experiment) -> None:
    """Give torch as many threads as the experiment asks for, and keep memory between steps."""
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)
    keep_freed()
