"""``metaccord cite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metaccord.citations import CITATIONS
from metaccord.data import OMNIGLOT, sign_digits
from metaccord.defaults import FAMILIES, compose
from metaccord.errors import UsageError
from metaccord.method import Method
from metaccord.rundir import RunDirectory
from metaccord.stored import stored
from metaccord.tasks import Omniglot, SignDigits


def cite(what: Annotated[str, tyro.conf.arg(metavar="METHOD|RUN"), tyro.conf.Positional]) -> int:
    """Print BibTeX of everything that a method or a run used.

    Args:
        what: A method such as reptile+agreement, or the folder of a run.
    """
    extra: list[str] = []
    if (Path(what) / "run.json").exists():
        experiment = stored(RunDirectory.read(Path(what)))
        method = experiment.method
        if isinstance(experiment.tasks, Omniglot):
            extra = [OMNIGLOT.citation]
        elif isinstance(experiment.tasks, SignDigits):
            extra = [sign_digits.CITATION]
    else:
        base, *interactions = what.split("+")
        try:
            method = compose(base, interactions, FAMILIES[0])
        except UsageError as error:
            raise UsageError(f"{error} (or give the folder of a run)") from error
    print("\n\n".join([*references(method), *extra]))
    return 0


def references(method: Method) -> list[str]:
    """Return one BibTeX entry per part of a method."""
    found = [CITATIONS[method.name], *(part.reference for part in method.interactions)]
    return list(dict.fromkeys(found))
