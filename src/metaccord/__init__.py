"""Gradient-based meta-learning in which tasks influence each other through their gradients."""

from metaccord import errors, interactions, losses, methods, models, rules, tasks
from metaccord.axis import TaskAxis
from metaccord.engine import Plan
from metaccord.evaluate import Protocol, Scores, evaluate
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.outer import Outer
from metaccord.records import Record
from metaccord.step import meta_gradient
from metaccord.train import train
from metaccord.tuning import tune
from metaccord.types import Adaptation, Batch, Episode, MetaState, MetaStep, Own
from metaccord.watch import Watch

__version__ = "0.1.0"
