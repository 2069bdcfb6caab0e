"""Real data: a catalogue of facts, verified downloads, safe archives, and the loaders.

``metaccord.data.omniglot.load()`` is the usual entry; no picture is shipped with the package.
"""

from metaccord.data import graphs, omniglot, sign_digits
from metaccord.data.archives import Limits, read_members
from metaccord.data.cache import cache_folder
from metaccord.data.catalogue import (
    CATALOGUE,
    OMNIGLOT,
    DataSet,
    PixelHash,
    RemoteFile,
    find_data_set,
)
from metaccord.data.download import Connection, fetch_file
from metaccord.data.npz import ArraySpec, read_npz, unpack_npz
from metaccord.data.omniglot import OmniglotPictures, Source
from metaccord.data.omniglot_facts import OneShotRuns, one_shot_runs
from metaccord.data.sign_digits import SignDigitPictures

__all__ = [
    "CATALOGUE",
    "OMNIGLOT",
    "ArraySpec",
    "Connection",
    "DataSet",
    "Limits",
    "OmniglotPictures",
    "OneShotRuns",
    "PixelHash",
    "RemoteFile",
    "SignDigitPictures",
    "Source",
    "cache_folder",
    "fetch_file",
    "find_data_set",
    "graphs",
    "omniglot",
    "one_shot_runs",
    "read_members",
    "read_npz",
    "sign_digits",
    "unpack_npz",
]
