"""Pictures: pure functions from results to figures; imported on demand, never by training."""

from metaccord.plots.agreement import cosines, task_cosines, weights
from metaccord.plots.curves import error_by_step, training
from metaccord.plots.episode import episode
from metaccord.plots.factorial import factorial
from metaccord.plots.reliability import reliability
from metaccord.plots.sine import adaptation
from metaccord.plots.style import save

__all__ = [
    "adaptation",
    "cosines",
    "episode",
    "error_by_step",
    "factorial",
    "reliability",
    "save",
    "task_cosines",
    "training",
    "weights",
]
