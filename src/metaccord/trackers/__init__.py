"""The records of a training for TensorBoard, W&B or MLflow, through one small protocol.

A tracker looks on: it is called after each meta-step, and whatever goes wrong in it is told once
and never reaches the training.
"""

from metaccord.trackers.base import Tracker, scalars
from metaccord.trackers.opening import NAMES, followed, opened

__all__ = ["NAMES", "Tracker", "followed", "opened", "scalars"]
