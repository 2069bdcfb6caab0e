"""What every section of a page is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from metaccord.report.markup import Html, Ids, joined, tag
from metaccord.report.stories import Group, Story


class Section(NamedTuple):
    """One part of the page.

    Attributes:
        identity: Where links point.
        title: Its heading; the menu shows it.
        content: Its markup.
    """

    identity: str
    title: str
    content: Html


@dataclass(frozen=True, eq=False)
class Context:
    """The runs of a page.

    Attributes:
        groups: Runs that differ in their seed alone stand together.
        ids: Identities that occur once.
    """

    groups: list[Group]
    ids: Ids = field(default_factory=Ids)

    @property
    def stories(self) -> list[Story]:
        """All runs."""
        return [story for group in self.groups for story in group.stories]

    @property
    def single(self) -> bool:
        """Whether there is one group."""
        return len(self.groups) == 1


def section(identity: str, title: str, *parts: object) -> Section | None:
    """Return a section; None if nothing is in it."""
    found = [part for part in parts if part]
    return Section(identity, title, joined(found)) if found else None


def paragraph(*parts: object) -> Html:
    """Return a paragraph."""
    return tag("p", *parts)


def aside(*parts: object) -> Html:
    """Return a remark in small print."""
    return tag("p", *parts, class_="note")


def grid(*parts: object, pairs: bool = False) -> Html:
    """Return figures side by side where there is room, three or two in a row."""
    return tag("div", *parts, class_="grid-of-figures pairs" if pairs else "grid-of-figures")
