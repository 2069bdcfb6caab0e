"""The command line of tests/cli, in an empty folder."""

from __future__ import annotations

from tests.cli.conftest import data_root, finished, metaccord, place

__all__ = ["data_root", "finished", "metaccord", "place"]
