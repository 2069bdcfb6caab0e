"""Which meta-gradient."""

from metaccord.estimators.base import Estimator
from metaccord.estimators.implicit import Implicit
from metaccord.estimators.maml import MAML
from metaccord.estimators.multistep import MultiStep
from metaccord.estimators.pretrain import Pretrain
from metaccord.estimators.reptile import Reptile

__all__ = ["MAML", "Estimator", "Implicit", "MultiStep", "Pretrain", "Reptile"]
