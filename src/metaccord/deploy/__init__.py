"""Taking an adapted model away: predictors, their folders, calibration and export."""

from metaccord.deploy import hub
from metaccord.deploy.answers import Answers
from metaccord.deploy.card import Card
from metaccord.deploy.frozen import export
from metaccord.deploy.load import load
from metaccord.deploy.measure import Measured, measure
from metaccord.deploy.predictor import Predictor
from metaccord.deploy.step import export_adaptation

__all__ = [
    "Answers",
    "Card",
    "Measured",
    "Predictor",
    "export",
    "export_adaptation",
    "hub",
    "load",
    "measure",
]
