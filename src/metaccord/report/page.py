"""The page: sections in their order, style and script inside, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from metaccord import __version__
from metaccord.report.context import Context, Section
from metaccord.report.markup import Html, Ids, joined, tag
from metaccord.report.panels.agreement import agreement
from metaccord.report.panels.costs import costs
from metaccord.report.panels.examples import examples
from metaccord.report.panels.landscape import landscape
from metaccord.report.panels.method import cite, protocol, settings
from metaccord.report.panels.relations import relations
from metaccord.report.panels.results import results
from metaccord.report.panels.summary import cards, summary, title
from metaccord.report.panels.training import training
from metaccord.report.panels.trajectories import trajectories
from metaccord.report.stories import Group


def page(groups: list[Group], entries: list[str]) -> str:
    """Return a whole HTML document.

    Args:
        groups: The runs.
        entries: BibTeX of what they used.
    """
    context = Context(groups, Ids())
    made = [
        results(context),
        examples(context),
        training(context),
        agreement(context),
        relations(context),
        trajectories(context),
        landscape(context),
        costs(context),
        protocol(context),
        settings(context),
        cite(context, entries),
    ]
    sections = [one for one in made if one is not None]
    heading = title(context)
    content = [tag("h1", heading), summary(context), cards(context), *map(_section, sections)]
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        _header(),
        _menu(sections),
        tag("main", *content, id="content"),
        tag(
            "footer",
            tag("p", f"Made by metaccord {__version__} from the records of the runs. "
                "This file needs no network."),
        ),
        tag("script", Html(_file("report.js"))),
    )  # fmt: skip
    return f"<!doctype html>\n{tag('html', _head(heading), body, lang='en')}\n"


def _head(heading: str) -> Html:
    style, script = _file("report.css"), _file("report.js")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{heading} – metaccord"),
        tag("style", Html(style)),
    )


def _policy(style: str, script: str) -> str:
    """Return what the page may do: use its own style and script, show its own pictures."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    found = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"sha256-{found}"


def _file(name: str) -> str:
    return (files("metaccord.report") / "static" / name).read_text(encoding="utf-8").strip()


def _header() -> Html:
    return tag(
        "header",
        tag("span", "metaccord", tag("span", " report"), class_="brand"),
        tag("button", tag("span", "Theme: "), tag("span", "as the system", id="theme-name"),
            type="button", id="theme", class_="plain", hidden=True),
        class_="top",
    )  # fmt: skip


def _menu(sections: list[Section]) -> Html:
    links = [tag("li", tag("a", s.title, href=f"#{s.identity}")) for s in sections]
    return tag("nav", tag("ul", *links), aria_label="Sections", class_="menu")


def _section(one: Section) -> Html:
    heading = tag("h2", one.title, id=f"{one.identity}-title")
    return tag(
        "section", joined([heading, one.content]), id=one.identity,
        aria_labelledby=f"{one.identity}-title",
    )  # fmt: skip
