"""Families of tasks."""

from metaccord.tasks.nodes import Nodes
from metaccord.tasks.omniglot import Omniglot, OneShotRuns
from metaccord.tasks.quadratics import Point, Quadratics, mean_height
from metaccord.tasks.sign_digits import SignDigits
from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tasks.source import TaskSource
from metaccord.tasks.stacking import stacked

__all__ = [
    "Nodes",
    "Omniglot",
    "OneShotRuns",
    "Point",
    "Quadratics",
    "SignDigits",
    "Sinusoid",
    "TaskSource",
    "mean_height",
    "stacked",
]
