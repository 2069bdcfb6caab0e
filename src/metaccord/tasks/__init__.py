"""Families of tasks."""

from metaccord.tasks.sinusoid import Sinusoid
from metaccord.tasks.source import TaskSource

__all__ = ["Sinusoid", "TaskSource"]
