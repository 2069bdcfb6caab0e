"""Which meta-gradient."""

from metaccord.estimators.base import Estimator
from metaccord.estimators.implicit import Implicit
from metaccord.estimators.maml import MAML
from metaccord.estimators.multistep import MultiStep
from metaccord.estimators.pretrain import Pretrain
from metaccord.estimators.pruned import MGAug
from metaccord.estimators.reptile import Reptile
from metaccord.estimators.warp import Warp

__all__ = ["MAML", "Estimator", "Implicit", "MGAug", "MultiStep", "Pretrain", "Reptile", "Warp"]
