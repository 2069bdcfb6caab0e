"""The top of the page: what happened, in plain words, and the numbers to remember."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaccord.report.context import Context
from metaccord.report.markup import Html, tag
from metaccord.report.naming import family
from metaccord.report.numbers import comparable, gap, losses, result
from metaccord.report.scales import duration, interval, number, percent, whole
from metaccord.report.stories import Group, Story


def title(page: Context) -> str:
    """Return the heading of the page."""
    tasks = family(page.stories[0].facts.settings["tasks"])
    names = [group.name for group in page.groups]
    return f"{listed(names)} on {tasks}" if len(names) <= 3 else f"{len(names)} methods on {tasks}"


def listed(names: list[str]) -> str:
    """Return names with commas, the last one with "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def shape(settings: dict[str, Any]) -> str:
    """Return what a task is: 5-way 1-shot, or 10 examples."""
    tasks = settings["tasks"]
    shots = tasks.get("shots")
    if "ways" in tasks and shots is not None:
        return f"{tasks['ways']}-way {shots}-shot"
    return "" if shots is None else f"{shots} example{'s' if shots != 1 else ''} per task"


def summary(page: Context) -> Html:
    """Return the sentences that say what happened."""
    lines = [_training(page), *(_outcome(group, page.single) for group in page.groups)]
    if not page.single:
        lines.append(_comparison(page))
    lines += [_state(story, page) for story in page.stories]
    return tag("div", *[tag("p", line) for line in lines if line], class_="lead")


def cards(page: Context) -> Html:
    """Return the numbers to remember."""
    found = []
    for group in page.groups:
        measured = result(group)
        named = "" if page.single else f"{group.name}: "
        if measured is not None:
            what = "accuracy" if measured.share else "loss"
            last = interval(measured.interval(), share=measured.share)
            first = interval(measured.interval(0), share=measured.share)
            found.append((f"{named}{what} after adaptation", last, f"before: {first}"))
    records = [s.facts.records for s in page.stories]
    seconds = sum(float(r["seconds"]) for run in records for r in run if "seconds" in r)
    steps = sum(len(run) for run in records)
    runs = len(page.stories)
    found.append(
        ("meta-steps", whole(steps), f"in {runs} runs" if runs > 1 else _planned(page.stories[0]))
    )
    if seconds:
        pace = f"{number(steps / seconds)} meta-steps per second"
        found.append(("time in meta-steps", duration(seconds), pace))
    relation = page.groups[0].first.parts.get("map")
    if relation and relation.get("conflicts") is not None:
        mean = number(relation["mean"], 2)
        shown = percent(relation["conflicts"])
        found.append(("pairs of tasks in conflict", shown, f"mean cosine {mean}"))
    return tag("dl", *[_card(*card) for card in found], class_="cards")


def _card(name: str, value: str, rest: str) -> Html:
    return tag(
        "div",
        tag("dt", name),
        tag("dd", tag("span", value, class_="big"), tag("span", rest, class_="rest")),
    )


def _planned(story: Story) -> str:
    done, asked = story.facts.trained, story.facts.steps
    return "all that were asked for" if done >= asked else f"of {whole(asked)} asked for"


def _training(page: Context) -> str:
    first = page.stories[0].facts.settings
    tasks = family(first["tasks"])
    what = shape(first)
    names = listed([g.name for g in page.groups])
    counts = {len(g.stories) for g in page.groups}
    seeds = ""
    if counts != {1}:
        shown = _range([*counts])
        seeds = f", with {shown} seeds each" if len(page.groups) > 1 else f", with {shown} seeds"
    done = _range([s.facts.trained for s in page.stories])
    each = _range([int(s.facts.settings.get("num_tasks", 0)) for s in page.stories])
    return (
        f"{names} {'was' if page.single else 'were'} meta-trained on {tasks}"
        f"{f' ({what})' if what else ''} for {done} meta-steps of {each} tasks{seeds}."
    )


def _range(counts: list[int]) -> str:
    """Return a count, or the smallest and the largest."""
    low, high = whole(min(counts)), whole(max(counts))
    return low if low == high else f"{low} to {high}"


def _outcome(group: Group, single: bool) -> str:
    measured = result(group)
    name = "Adaptation" if single else f"With {group.name}, adaptation"
    if measured is None:
        return _without(group, single)
    how = measured.protocol
    before, after = (interval(measured.interval(place), share=measured.share) for place in (0, -1))
    steps = measured.at[-1]
    over = "tasks" if len(measured.values) == 1 else f"{len(measured.values)} seeds"
    what = "accuracy" if measured.share else "the loss"
    change = f"takes {what} from {before} to {after}" if steps else f"leaves {what} at {after}"
    return (
        f"{name} {change} on {how['tasks']:,} unseen tasks in {steps} gradient "
        f"step{'s' if steps != 1 else ''} ({how['statistics']}, 95 % intervals over {over})."
    )


def _without(group: Group, single: bool) -> str:
    _, values = losses(group.first.facts.records)
    if not len(values):
        return "There is no record of a meta-step yet." if single else ""
    few = max(1, len(values) // 20)
    first, last = np.nanmean(values[:few]), np.nanmean(values[-few:])
    name = "The" if single else f"{group.name}: the"
    return (
        f"{name} training loss went from {number(float(first))} to {number(float(last))}; nothing "
        "was measured on unseen tasks."
    )


def _comparison(page: Context) -> str:
    """Say which method is ahead, if the numbers can be compared."""
    found = {group.name: result(group) for group in page.groups}
    known = {name: one for name, one in found.items() if one is not None}
    if len(known) < len(found):
        missing = ", ".join(name for name, one in found.items() if one is None)
        return f"Not compared: there are no results under one protocol for {missing}."
    base_name, base = next(iter(known.items()))
    lines, paired = [], ""
    for name, one in list(known.items())[1:]:
        if not comparable(one, base):
            return "Not compared: the results were measured under different protocols."
        difference = gap(one, base)
        if difference is None:
            lines.append(f"{name} is not compared with {base_name}: numbers of seeds differ")
            continue
        paired = " (paired on the same test tasks)"
        better = (difference.mean > 0) == one.share
        clear = abs(difference.mean) > difference.half
        verdict = ("better" if better else "worse") if clear else "not clearly different"
        shown = interval(difference, share=one.share)
        lines.append(f"{name} minus {base_name}: {shown}, {verdict}")
    return f"{'; '.join(lines)}{paired}."


def _state(story: Story, page: Context) -> str:
    """Say what an unfinished or failed run is."""
    facts = story.facts
    named = "The run" if len(page.stories) == 1 else f"The run {facts.path.name}"
    if facts.failure is not None:
        why = f"{facts.failure.get('error', 'error')}: {facts.failure.get('message', '')}"
        step = facts.failure.get("step", 0)
        return f"{named} ended with a failure after meta-step {step:,}: {why}"
    if facts.trained < facts.steps:
        return f"{named} is not finished: {facts.trained:,} of {facts.steps:,} meta-steps."
    return ""
