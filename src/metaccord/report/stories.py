"""Runs put side by side: which are seeds of one training, what each is called, what they share."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from metaccord.errors import UsageError
from metaccord.report.facts import Facts
from metaccord.rundir import compare_config
from metaccord.stored import refuse_other_tasks

WORDS = {
    "maml": "MAML", "fomaml": "first-order MAML", "reptile": "Reptile", "anil": "ANIL",
    "boil": "BOIL", "meta_sgd": "Meta-SGD", "maml_pp": "MAML++", "imaml": "iMAML",
    "warp": "WarpGrad", "mgaug": "MGAug", "finetune": "fine-tuning",
    "agreement": "Gradient Agreement", "sharing": "Gradient Sharing", "cooperative": "CML",
    "coherent": "coherence", "pcgrad": "PCGrad",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Story:
    """One run with what was computed from it.

    Attributes:
        facts: What its folder says.
        parts: What was computed, by name.
        remarks: What is missing, in sentences.
    """

    facts: Facts
    parts: dict[str, dict[str, Any]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        name: As shown; different in each group of a page.
        colour: Number of its colour.
        stories: At least one, by seed.
    """

    name: str
    colour: int
    stories: tuple[Story, ...]

    @property
    def first(self) -> Story:
        """The one that examples are taken from."""
        return self.stories[0]

    def part(self, name: str) -> list[dict[str, Any]]:
        """Return a computed part of all runs; empty if one lacks it."""
        found = [story.parts.get(name) for story in self.stories]
        return [part for part in found if part] if all(found) else []


def words(label: str) -> str:
    """Return a method's label in words: ``maml+agreement`` is MAML + Gradient Agreement."""
    return " + ".join(WORDS.get(part, part) for part in label.split("+"))


def refuse_unlike(facts: list[Facts]) -> None:
    """Raise UsageError unless the runs would meet the same test episodes."""
    known = {f.path: f.experiment.tasks for f in facts if f.experiment is not None}
    if len(known) == len(facts):
        refuse_other_tasks(known)
        return
    trees = [{**f.settings["tasks"], "seed": 0, "train_shots": None, "folder": ""} for f in facts]
    for one, tree in zip(facts, trees, strict=True):
        if lines := compare_config(trees[0], tree):
            raise UsageError(
                f"{one.path} was trained for other tasks than {facts[0].path} ({lines[0]}): "
                "numbers on different tasks are not compared"
            )


def grouped(stories: list[Story]) -> list[Group]:
    """Return the runs with those together that differ in their seed alone, in the given order.

    Raises:
        UsageError: for two runs with the same settings and seed, which are no two draws.
    """
    found: dict[str, list[Story]] = {}
    for story in stories:
        settings = story.facts.settings
        free = {"seed": None, "device": None, "threads": None}
        same = {**settings, **free, "tasks": {**settings["tasks"], "folder": ""}}
        runs = found.setdefault(json.dumps(same, sort_keys=True), [])
        if twice := [one.facts.path for one in runs if one.facts.seed == story.facts.seed]:
            raise UsageError(
                f"{story.facts.path} has settings and seed of {twice[0]}: an interval over seeds "
                "needs different ones, leave one of them out"
            )
        runs.append(story)
    labels = Counter(words(runs[0].facts.label) for runs in found.values())
    groups = []
    for colour, runs in enumerate(found.values()):
        name = words(runs[0].facts.label)
        if labels[name] > 1:
            name = f"{name} ({shown_path(runs[0].facts, stories)})"
        ordered = sorted(runs, key=lambda s: s.facts.seed)
        groups.append(Group(name, colour % 8, tuple(ordered)))
    return groups


def shown_path(facts: Facts, stories: list[Story]) -> str:
    """Return the name of a run's folder, with the parents' as far as needed to tell runs apart."""
    others = [s.facts.path.resolve().parts for s in stories if s.facts is not facts]
    own = facts.path.resolve().parts
    for depth in range(1, len(own)):
        if all(other[-depth:] != own[-depth:] for other in others):
            return "/".join(own[-depth:])
    return "/".join(own[-2:])
