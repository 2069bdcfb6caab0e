"""How one task moves."""

from metaccord.rules.adam import Adam
from metaccord.rules.base import InnerRule
from metaccord.rules.momentum import Momentum
from metaccord.rules.proximal import Proximal
from metaccord.rules.rates import MetaSGD, PerStep
from metaccord.rules.sgd import SGD

__all__ = ["SGD", "Adam", "InnerRule", "MetaSGD", "Momentum", "PerStep", "Proximal"]
