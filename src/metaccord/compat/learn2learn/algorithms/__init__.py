"""learn2learn's wrappers round a model: MAML, Meta-SGD and GBML."""

from metaccord.compat.learn2learn.algorithms.base_learner import BaseLearner
from metaccord.compat.learn2learn.algorithms.gbml import GBML
from metaccord.compat.learn2learn.algorithms.maml import MAML, maml_update
from metaccord.compat.learn2learn.algorithms.meta_sgd import MetaSGD, meta_sgd_update

__all__ = ["GBML", "MAML", "BaseLearner", "MetaSGD", "maml_update", "meta_sgd_update"]
