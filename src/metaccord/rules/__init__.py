"""How one task moves."""

from metaccord.rules.adam import Adam
from metaccord.rules.base import InnerRule
from metaccord.rules.sgd import SGD

__all__ = ["SGD", "Adam", "InnerRule"]
