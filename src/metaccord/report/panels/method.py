"""How it was made and measured: protocol and its hash, settings, versions, what to cite."""

from __future__ import annotations

from typing import Any

from metaccord import jsontree
from metaccord.report.context import Context, Section, paragraph, section
from metaccord.report.markup import Html, joined, table, tag
from metaccord.report.panels.summary import listed
from metaccord.report.scales import interval, number
from metaccord.report.stories import shown_path
from metaccord.statistics import Interval

MEANINGS = {
    "transductive": "batch normalisation sees all queries of a task together",
    "inductive": "batch normalisation sees each query with the support set",
    "frozen": "batch normalisation sees the support set alone",
}


def protocol_hash(protocol: dict[str, Any]) -> str:
    """Return the SHA-256 of a protocol, twelve letters of it."""
    return jsontree.digest(protocol, "protocol")[:12]


def protocol(page: Context) -> Section | None:
    """Return how the numbers were measured, and those that were kept before."""
    rows = _stored(page)
    parts: list[object] = []
    if measured := _measured(page):
        parts.append(
            paragraph(
                "A number without its protocol says little. The results above were measured as "
                "follows. Numbers with another hash are not comparable, unless the inner steps "
                "alone differ, which belong to the method."
            )
        )
    for names, scores in measured:
        if len(measured) > 1:
            parts.append(tag("h3", listed(names)))
        parts.append(_definition(scores["protocol"], scores))
    if rows:
        heads = ["File", "Run", "Step", "Accuracy or loss", "Protocol", "Hash", "Episodes"]
        caption = "Results that metaccord evaluate kept; rows with different hashes differ in kind"
        parts.append(table(heads, rows, caption=caption))
    return section("protocol", "Protocol", *parts)


def _measured(page: Context) -> list[tuple[list[str], dict[str, Any]]]:
    """Return each way in which results were measured, with the names that it goes for."""
    found: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for group in page.groups:
        for story in group.stories:
            if scores := story.parts.get("scores"):
                names, _ = found.setdefault(protocol_hash(scores["protocol"]), ([], scores))
                if group.name not in names:
                    names.append(group.name)
    return list(found.values())


def _definition(how: dict[str, Any], scores: dict[str, Any]) -> Html:
    words = {
        "statistics": f"{how['statistics']}: {MEANINGS.get(str(how['statistics']), '')}",
        "tasks": f"{how['tasks']:,} tasks of the {how['split']} split, each adapted alone",
        "inner steps": str(how["steps"]),
        "stream of tasks": f"seed {how['seed']}: equal for every method",
        "hash of the protocol": tag("code", protocol_hash(how)),
    }
    if digest := (scores.get("episodes") or {}).get("digest"):
        words["hash of the episodes"] = tag("code", str(digest)[:12])
    known = {"statistics", "tasks", "split", "steps", "seed"}
    words |= {k: str(v) for k, v in how.items() if k not in known}
    pairs = [joined([tag("dt", k), tag("dd", v)]) for k, v in words.items()]
    return tag("dl", *pairs, class_="facts")


def _stored(page: Context) -> list[list[object]]:
    rows: list[list[object]] = []
    for story in page.stories:
        for name, one in story.facts.results.items():
            share = "accuracy" in one
            value = one["accuracy" if share else "loss"]
            shown = interval(Interval(float(value["mean"]), float(value["half"])), share=share)
            how = dict(one["protocol"])
            words = ", ".join(f"{k} {v}" for k, v in how.items())
            episodes = str((one.get("episodes") or {}).get("digest", "unknown"))[:12]
            rows.append(
                [name, shown_path(story.facts, page.stories), str(one.get("step", "")), shown,
                 words, tag("code", protocol_hash(how)), tag("code", episodes)]
            )  # fmt: skip
    return rows


def settings(page: Context) -> Section | None:
    """Return all settings and versions."""
    blocks = []
    for story in page.stories:
        rows = [[key, _shown(value)] for key, value in _leaves(story.facts.settings, "")]
        rows += [[f"version of {k}", v] for k, v in story.facts.versions.items()]
        name = shown_path(story.facts, page.stories)
        caption = f"Settings of {name}"
        body = table(["Setting", "Value"], rows, caption=caption)
        blocks.append(tag("details", tag("summary", caption), body, class_="behind"))
    missing = [
        f"{shown_path(s.facts, page.stories)}: {line}"
        for s in page.stories
        for line in (*s.facts.remarks, *s.remarks)
    ]
    notes = tag("ul", *[tag("li", line) for line in missing], class_="remarks") if missing else None
    head = tag("h3", "What is left out") if missing else None
    return section("settings", "Settings", head, notes, *blocks)


def _leaves(tree: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        return [
            leaf for k, v in tree.items() for leaf in _leaves(v, f"{key}.{k}" if key else str(k))
        ]
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        return [leaf for i, v in enumerate(tree) for leaf in _leaves(v, f"{key}[{i}]")]
    return [(key, tree)]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number(value, 6)
    return jsontree.encode(value) if isinstance(value, list | dict) else str(value)


def cite(page: Context, entries: list[str]) -> Section | None:
    """Return what to cite, with a button that copies it.

    Args:
        page: The runs.
        entries: BibTeX.
    """
    body = tag("pre", tag("code", "\n\n".join(entries), id="bibtex"), tabindex="0",
               aria_label="BibTeX entries")  # fmt: skip
    button = tag("button", "Copy", type="button", data_copy="bibtex", class_="plain")
    said = paragraph(
        "Please cite the methods that were used, and this library (CITATION.cff). ",
        tag("code", "metaccord cite RUN"),
        " prints the same.",
    )
    return section("cite", "How to cite", said, button, body)
