"""How tasks influence each other."""

from metaccord.interactions.agreement import GradientAgreement
from metaccord.interactions.base import Interaction
from metaccord.interactions.together import Together

__all__ = ["GradientAgreement", "Interaction", "Together"]
