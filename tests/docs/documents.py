"""Reading Markdown: blocks, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
RUNNABLE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKING = [*RUNNABLE, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_COMMAND = re.compile(r"`(metaccord [^`]+)`")
_PATH = re.compile(r"`((?:src|tests|docs|experiments|benchmarks)/[\w./-]+)(?:::\w+)?`")


class Block(NamedTuple):
    """A fenced block: its language, text, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    return [
        Block(found[1], found[2], text[: found.start(2)].count("\n") + 1)
        for found in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command; in ``console`` blocks other lines are output."""
    for line in block.text.replace("\\\n", " ").splitlines():
        prompted = line.startswith("$ ")
        if block.language == "console" and not (prompted or line.startswith("metaccord ")):
            continue
        for part in line.removeprefix("$ ").split("&&"):
            words = shlex.split(part, comments=True)
            ends = [i for i, word in enumerate(words) if word in ("|", ">", ">>", "2>", "&")]
            if words := words[: ends[0] if ends else None]:
                yield words


def prose(text: str) -> str:
    """Return the document without its blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Return the targets of links and pictures that stay in the repository."""
    found = [a or b for a, b in _LINK.findall(prose(text))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def mentioned(text: str) -> list[list[str]]:
    """Return the words of each command that is written as `metaccord ...` in a sentence."""
    return [shlex.split(found)[1:] for found in _COMMAND.findall(" ".join(prose(text).split()))]


def paths(text: str) -> list[str]:
    """Return what is written as `folder/file` of the repository."""
    return _PATH.findall(prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as on GitHub."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
