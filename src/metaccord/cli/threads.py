"""The number of threads of one operation: global, so only the command line sets it."""

from __future__ import annotations

import torch

from metaccord.experiment import Experiment


def set_threads(experiment: Experiment) -> None:
    """Give torch as many threads as the experiment asks for."""
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)
