"""Families of tasks."""

from metaccord.tasks.nodes import Nodes
from metaccord.tasks.omniglot import Omniglot, OneShotRuns
from metaccord.tasks.own.arrays import Arrays, from_arrays
from metaccord.tasks.own.table import Table, from_table
from metaccord.tasks.quadratics import Point, Quadratics, mean_height
from metaccord.tasks.sign_digits import SignDigits
from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tasks.source import Advice, TaskSource
from metaccord.tasks.stacking import stacked

__all__ = [
    "Advice",
    "Arrays",
    "Nodes",
    "Omniglot",
    "OneShotRuns",
    "Point",
    "Quadratics",
    "SignDigits",
    "Sinusoid",
    "Table",
    "TaskSource",
    "from_arrays",
    "from_table",
    "mean_height",
    "stacked",
]
