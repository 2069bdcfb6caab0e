"""Families of tasks."""

from metaccord.tasks.folders import Folders, from_folders
from metaccord.tasks.nodes import Nodes
from metaccord.tasks.omniglot import Omniglot, OneShotRuns
from metaccord.tasks.own.arrays import Arrays, from_arrays
from metaccord.tasks.own.draw import Draw
from metaccord.tasks.own.function import Drawn, from_function
from metaccord.tasks.own.graph import from_graph
from metaccord.tasks.own.hub import from_hub
from metaccord.tasks.own.table import Table, from_table
from metaccord.tasks.published import CIFARFS, CUB, FC100, PUBLISHED, MiniImageNet, TieredImageNet
from metaccord.tasks.quadratics import Point, Quadratics, mean_height
from metaccord.tasks.sign_digits import SignDigits
from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tasks.source import Advice, TaskSource
from metaccord.tasks.stacking import stacked

STORED: tuple[type[TaskSource], ...] = (
    Sinusoid, Quadratics, Omniglot, SignDigits, Nodes, Arrays, Drawn, Table, Folders,
    *PUBLISHED.values(),
)  # fmt: skip
"""Families that a run stores by name."""

__all__ = [
    "CIFARFS",
    "CUB",
    "FC100",
    "PUBLISHED",
    "STORED",
    "Advice",
    "Arrays",
    "Draw",
    "Drawn",
    "Folders",
    "MiniImageNet",
    "Nodes",
    "Omniglot",
    "OneShotRuns",
    "Point",
    "Quadratics",
    "SignDigits",
    "Sinusoid",
    "Table",
    "TaskSource",
    "TieredImageNet",
    "from_arrays",
    "from_folders",
    "from_function",
    "from_graph",
    "from_hub",
    "from_table",
    "mean_height",
    "stacked",
]
