"""Codings: how raw data become what a model was trained on, and its outputs what people read."""

from metaccord.codings.arrays import ArrayCoding
from metaccord.codings.base import Coding, Labelled, Unlabelled
from metaccord.codings.columns import Column
from metaccord.codings.pictures import PictureCoding
from metaccord.codings.tables import TableCoding

__all__ = [
    "ArrayCoding",
    "Coding",
    "Column",
    "Labelled",
    "PictureCoding",
    "TableCoding",
    "Unlabelled",
]
