"""How tasks influence each other."""

from metaccord.interactions.aggregator import Aggregate
from metaccord.interactions.agreement import GradientAgreement
from metaccord.interactions.base import Interaction
from metaccord.interactions.coherence import Coherence
from metaccord.interactions.colearner import CoLearner
from metaccord.interactions.pcgrad import PCGrad
from metaccord.interactions.sharing import GradientSharing
from metaccord.interactions.together import Together

__all__ = [
    "Aggregate",
    "CoLearner",
    "Coherence",
    "GradientAgreement",
    "GradientSharing",
    "Interaction",
    "PCGrad",
    "Together",
]
