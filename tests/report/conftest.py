"""Runs to report on, made once, and a look at documents."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import metaccord as mc
from metaccord.cli.main import main
from tests.cli.support import tiny
from tests.small_graph import store

VOID = {"meta", "br", "img", "input", "hr", "col"}
SET = ["plan.chunk=all", "num_tasks=3"]


class Document(HTMLParser):
    """A page, taken apart by a parser that knows nothing of how it was made.

    Attributes:
        ids: All identities, in order.
        references: What attributes point at.
        addresses: What would be loaded.
        tags: Number of elements by name.
        text: All visible text.
        policy: The content policy.
        problems: Elements that do not nest.
    """

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.tags: dict[str, int] = {}
        self.text = ""
        self.policy = ""
        self.styled = 0
        self.handlers: list[str] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        self.problems += [f"{name} is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in VOID:
            self._open.append(tag)
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.problems.append(f"{tag} has an attribute twice: {names}")
        for name, value in attrs:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            elif name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
                self.references += value.split()
            elif name in ("data-chart", "data-map", "data-copy"):
                self.references.append(value)
            elif name == "href" and value.startswith("#"):
                self.references.append(value[1:])
            elif name in ("href", "src", "action", "xlink:href", "srcset"):
                self.addresses.append(value)
            elif name.startswith("on"):
                self.handlers.append(name)
            elif name == "style":
                self.styled += 1
        found = dict(attrs)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> inside {self._open[-3:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="session")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MAML with agreement on sine waves, six meta-steps, validated, reported."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("report") / "waves"
    settings = ("steps=6", "checkpoint_every=3", "validate_every=2", "validation_tasks=4")
    for _ in mc.run(tiny(*settings, extra=("agreement",)), folder):
        pass
    assert main(["report", str(folder), "--tasks", "12"]) == 0
    return folder


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph whose classes have hostile names, reported."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("graph")
    names = np.array(["<script>alert(1)</script>", "</script>", '" onload="x', "a&b", "]]>", "'é'"])
    graph = store(place, class_names=names)
    folder = place / "nodes"
    sizes = ["tasks.shots=2", "tasks.queries=3", "steps=3"]
    words = ["train", f"graph:{graph}", "--out", str(folder), "--set", *SET, *sizes]
    assert main(words) == 0
    assert main(["report", str(folder), "--tasks", "8"]) == 0
    return folder


@pytest.fixture(scope="session")
def parsed() -> type[Document]:
    """The parser."""
    return Document
