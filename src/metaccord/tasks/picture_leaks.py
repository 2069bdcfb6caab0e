"""What test classes have in common with training classes: pictures and names."""

from __future__ import annotations

import logging

import numpy as np

from metaccord.data.pictures.duplicates import leaks, repeated
from metaccord.data.pictures.folders import Listing, folded
from metaccord.errors import DataError
from metaccord.tasks.picture_tasks import Held
from metaccord.tasks.source import SPLITS

log = logging.getLogger("metaccord")


def refuse_leaks(held: Held, listing: Listing, *, accept: bool) -> None:
    """Refuse identical pictures in two splits; warn of others that are alike.

    Args:
        held: Pictures and splits.
        listing: Where the pictures lie.
        accept: Warn of identical ones, too.

    Raises:
        DataError: naming two of the files.
    """
    recipe, files = held.pictures.recipe, listing.files
    split_of = np.full(len(recipe.classes), -1)
    for number, split in enumerate(SPLITS):
        split_of[held.members[split]] = number
    found = leaks(held.pictures, np.repeat(split_of, recipe.counts))
    for kind, pairs in (("identical", found.identical), ("nearly the same", found.near)):
        if not len(pairs):
            continue
        one, other = (files[row] for row in pairs[0])
        text = (
            f"{len(pairs)} pairs of pictures in different splits are {kind}, the first {one!r} and "
            f"{other!r} in {listing.root}"
        )
        if kind == "identical" and not accept:
            raise DataError(
                f"{text}: remove one of each, or accept them knowingly (tasks.accept_leaks=true)"
            )
        log.warning("%s: results on the test split may be too good", text)
    twice = repeated(held.pictures)
    if len(twice) > len(found.identical):
        one, other = (files[row] for row in twice[0])
        log.warning(
            "%d pictures in %s are there twice, such as %r and %r: a task may ask for what it has "
            "shown", len(twice), listing.root, one, other,
        )  # fmt: skip


def refuse_shared_names(listing: Listing) -> None:
    """Raise DataError for a class that lies in two of the folders for splits."""
    seen: dict[str, str] = {}
    for found in listing.classes:
        before = seen.setdefault(folded(found.name), found.split)
        if before != found.split:
            raise DataError(
                f"class {found.name!r} of {listing.root} is in the {before} and in the "
                f"{found.split} split: test classes must be new; move it, or accept it knowingly "
                "(tasks.accept_leaks=true)"
            )
