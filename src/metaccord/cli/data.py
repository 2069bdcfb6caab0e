"""``metaccord data``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from metaccord.data import CATALOGUE, find_data_set, omniglot
from metaccord.errors import UsageError


def data(
    action: tyro.conf.Positional[Literal["list", "fetch", "verify"]],
    name: tyro.conf.Positional[str | None] = None,
    *,
    path: Path | None = None,
) -> int:
    """List, fetch or verify data sets.

    Args:
        action: list what is known, fetch NAME (verified download), or verify NAME.
        name: A data set of the list.
        path: Folder to fetch into or to verify (default: METACCORD_DATA for verify, the cache).
    """
    if action == "list":
        for entry in CATALOGUE.values() if isinstance(CATALOGUE, dict) else CATALOGUE:
            print(f"{entry.name}: {entry.description} Licence: {entry.licence}.")
        return 0
    if name is None:
        raise UsageError(f"metaccord data {action} needs the name of a data set: see `data list`")
    entry = find_data_set(name)
    if action == "fetch":
        print(f"{entry.name}: verified, in {omniglot.fetch(path, entry=entry)}")
        return 0
    found = omniglot.verify(path, entry=entry)
    print(f"{entry.name}: intact, {found.road} at {found.place}")
    return 0
