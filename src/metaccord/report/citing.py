"""BibTeX of everything that runs used."""

from __future__ import annotations

from metaccord.citations import CITATIONS
from metaccord.data import OMNIGLOT, sign_digits
from metaccord.report.facts import Facts
from metaccord.serial import VALUES

_DATA = {"Omniglot": OMNIGLOT.citation, "SignDigits": sign_digits.CITATION}


def entries(runs: list[Facts]) -> list[str]:
    """Return one entry per method, interaction and data set, each once.

    Args:
        runs: What was reported.
    """
    found: list[str] = []
    for facts in runs:
        method = facts.settings["method"]
        found.append(CITATIONS.get(str(method["name"]), ""))
        parts = [VALUES[part["class"]] for part in method["interactions"]]
        found += [str(part.reference) for part in parts]  # type: ignore[attr-defined]
        found.append(_DATA.get(str(facts.settings["tasks"].get("class")), ""))
    return [entry for entry in dict.fromkeys(found) if entry]
