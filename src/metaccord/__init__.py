"""Gradient-based meta-learning in which tasks influence each other through their gradients."""

__version__ = "0.1.0"

from typing import Any

from metaccord import (
    data,
    deploy,
    diagnostics,
    errors,
    interactions,
    losses,
    methods,
    models,
    rules,
    tasks,
)
from metaccord.axis import TaskAxis
from metaccord.calibration import Calibration
from metaccord.comparison import Comparison, compare
from metaccord.defaults import default
from metaccord.doctor import check
from metaccord.engine import Plan
from metaccord.episode_set import EpisodeSet
from metaccord.evaluate import evaluate
from metaccord.experiment import Experiment
from metaccord.learner import Learner, adapt
from metaccord.method import Method, initialise
from metaccord.objective import Objective
from metaccord.outer import Outer
from metaccord.protocol import Protocol
from metaccord.records import Record
from metaccord.runs import run
from metaccord.saved import load, save
from metaccord.scores import Scores
from metaccord.step import meta_gradient
from metaccord.train import train
from metaccord.tuning import tune
from metaccord.types import Adaptation, Batch, Episode, MetaState, MetaStep, Own
from metaccord.watch import Watch

__all__ = [
    "Adaptation",
    "Batch",
    "Calibration",
    "Comparison",
    "Episode",
    "EpisodeSet",
    "Experiment",
    "Learner",
    "MetaState",
    "MetaStep",
    "Method",
    "Objective",
    "Outer",
    "Own",
    "Plan",
    "Protocol",
    "Record",
    "Scores",
    "TaskAxis",
    "Watch",
    "adapt",
    "check",
    "compare",
    "data",
    "default",
    "deploy",
    "diagnostics",
    "errors",
    "evaluate",
    "initialise",
    "interactions",
    "load",
    "losses",
    "meta_gradient",
    "methods",
    "models",
    "rules",
    "run",
    "save",
    "tasks",
    "train",
    "tune",
]

_ESTIMATORS = ("MetaClassifier", "MetaRegressor")


def __getattr__(name: str) -> Any:
    """Return an estimator; scikit-learn is imported when the first one is asked for."""
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'metaccord' has no attribute {name!r}")
    from metaccord import scikit

    return getattr(scikit, name)
