"""The bug museum: faults that people met, each small enough to read, and healthy set-ups."""

from tests.doctor.museum import gradients, models, tasks
from tests.doctor.museum.exhibit import Exhibit

EXHIBITS: tuple[Exhibit, ...] = (*gradients.EXHIBITS, *models.EXHIBITS, *tasks.EXHIBITS)
