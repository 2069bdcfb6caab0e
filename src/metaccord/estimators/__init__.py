"""Which meta-gradient."""

from metaccord.estimators.base import Estimator
from metaccord.estimators.maml import MAML
from metaccord.estimators.reptile import Reptile

__all__ = ["MAML", "Estimator", "Reptile"]
