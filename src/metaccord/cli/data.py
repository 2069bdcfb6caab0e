"""``metaccord data``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from metaccord.data import OMNIGLOT, find_data_set, omniglot, sign_digits
from metaccord.data.cache import cache_folder
from metaccord.data.download import fetch_file
from metaccord.data.pictures.check import check
from metaccord.data.pictures.decode import Form
from metaccord.data.published.facts import SETS
from metaccord.data.published.search import glimpse, locate
from metaccord.errors import DataError, UsageError, unknown

_FETCHED = {"cifar_fs": "cifar100", "fc100": "cifar100", "cub": "cub"}  # to which folder
_NAMES = (OMNIGLOT.name, sign_digits.NAME, *SETS)


def data(
    action: tyro.conf.Positional[Literal["list", "fetch", "verify", "check"]],
    name: tyro.conf.Positional[str | None] = None,
    *,
    path: Path | None = None,
) -> int:
    """List, fetch or verify data sets; check a folder of your own pictures.

    Args:
        action: list what is known, whether it is there, and what to put where; fetch NAME (verified
            download); verify NAME (every picture); check FOLDER (lists all that is wrong with a
            folder of class folders).
        name: A data set of the list, or the folder to check.
        path: Folder to fetch into or to look in (default: METACCORD_DATA, then the cache; fetch:
            the cache).
    """
    if action == "list":
        return _list(path)
    if name is None:
        what = "a folder" if action == "check" else "the name of a data set: see `data list`"
        raise UsageError(f"metaccord data {action} needs {what}")
    if action == "check":
        return _check(Path(name).expanduser())
    if name not in _NAMES:
        raise unknown("data set", name, _NAMES)
    return _fetch(name, path) if action == "fetch" else _verify(name, path)


def _list(path: Path | None) -> int:
    """Print what is known of each set."""
    omni = f"{OMNIGLOT.description}. Licence: {OMNIGLOT.licence}."
    print(f"{OMNIGLOT.name}: {omni}")
    _state(lambda: omniglot.find(path).place, f"run 'metaccord data fetch {OMNIGLOT.name}'")
    print(
        f"{sign_digits.NAME}: hand signs for the digits 0-9, 2062 colour pictures, 32x32. Licence: "
        "Apache 2.0, Copyright 2017 Arda Mavi."
    )
    _state(lambda: sign_digits.find(path), f"put {sign_digits.NAME}/{sign_digits.PROCESSED} there")
    for name, entry in SETS.items():
        print(f"{name}: {entry.description}. Terms: {entry.licence}.")
        fetched = f"run 'metaccord data fetch {name}', or " if name in _FETCHED else ""
        _state(partial(glimpse, name, path), f"{fetched}put there: {entry.put}")
    print(f"Looked in: {path or 'METACCORD_DATA, then the cache ' + str(cache_folder())}")
    return 0


def _state(find: Callable[[], Path | None], remedy: str) -> None:
    """Print whether a set is there, or how to get it."""
    try:
        found = find()
    except DataError:
        found = None
    print(f"  {'here: ' + str(found) if found is not None else 'not here: ' + remedy}")


def _fetch(name: str, path: Path | None) -> int:
    if name == OMNIGLOT.name:
        entry = find_data_set(name)
        print(f"{entry.name}: verified, in {omniglot.fetch(path, entry=entry)}")
        return 0
    if name not in _FETCHED:
        put = SETS[name].put if name in SETS else f"{name}/{sign_digits.PROCESSED}"
        raise UsageError(f"{name} is not fetched, its pictures have terms of their own: put {put}")
    archive = SETS[name].archive
    assert archive is not None
    folder = cache_folder() / _FETCHED[name] if path is None else path
    print(f"{name}: verified, in {fetch_file(archive, folder)}")
    return 0


def _verify(name: str, path: Path | None) -> int:
    if name == OMNIGLOT.name:
        found = omniglot.verify(path, entry=find_data_set(name))
        print(f"{name}: intact, {found.road} at {found.place}")
    elif name == sign_digits.NAME:
        count = len(sign_digits.load(path).labels)
        print(f"{name}: intact, {count} pictures at {sign_digits.find(path)}")
    else:
        located = locate(name, path)
        pictures = located.opened(Form(located.entry.size, "colour"))
        print(f"{name}: intact, {len(pictures)} pictures, {located.road} {located.place}")
    return 0


def _check(folder: Path) -> int:
    """Print all that is wrong with a folder, or what it holds."""
    report = check(folder)
    for problem in report.problems:
        print(problem)
    if report.problems:
        count = len(report.problems)
        what = "1 problem" if count == 1 else f"{count} problems"
        raise DataError(f"folder {folder} has {what}: each is listed above")
    name, least = min(report.classes, key=lambda pair: pair[1])
    total = sum(count for _, count in report.classes)
    print(
        f"{folder}: no problem, {total} pictures in {len(report.classes)} classes; the smallest is "
        f"{name!r} with {least}"
    )
    return 0
