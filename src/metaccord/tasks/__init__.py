"""Families of tasks."""

from metaccord.tasks.omniglot import Omniglot, OneShotRuns
from metaccord.tasks.quadratics import Point, Quadratics, mean_height
from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tasks.source import TaskSource

__all__ = [
    "Omniglot",
    "OneShotRuns",
    "Point",
    "Quadratics",
    "Sinusoid",
    "TaskSource",
    "mean_height",
]
