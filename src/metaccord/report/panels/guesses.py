"""Tasks of classification before and after adaptation: pictures, or probabilities alone."""

from __future__ import annotations

from typing import Any

from metaccord.report.markup import Html, tag
from metaccord.report.scales import number

ROOM = 26  # height of a class's row


def pictures(task: dict[str, Any], at: list[int], now: int) -> Html:
    """Return support pictures by class, and query pictures with what the model takes them for.

    Args:
        task: As :mod:`metaccord.report.examples` keeps it.
        at: Numbers of inner steps.
        now: The place in ``at`` that is shown first.
    """
    names = task["classes"]
    learnt = [
        tag("li", tag("span", names[label], class_="class-name"),
            *[_picture(image, f"support picture of {names[label]}") for image in images])
        for label, images in enumerate(task["support"])
    ]  # fmt: skip
    asked = [_query(task, i, at, now) for i in range(len(task["query"]))]
    shown, total = len(task["query"]), task["queries"]
    note = f"{shown} of {total} query pictures" if shown < total else f"{total} query pictures"
    return tag(
        "div",
        tag("div", tag("p", f"Support set: {task['shots']} pictures", class_="part"),
            tag("ul", *learnt, class_="support")),
        tag("div", tag("p", f"{note}: what the model takes them for, and how sure it is",
                       class_="part"),
            tag("ul", *asked, class_="queries")),
        class_="episode",
    )  # fmt: skip


def _picture(image: str, name: str) -> Html:
    return tag("img", src=image, alt=name, width="44", height="44", class_="crisp")


def _guess(odds: list[float | None]) -> tuple[list[float], int]:
    """Return probabilities, 0 where one is not finite, and the first of the likeliest classes."""
    row = [v if v is not None else 0.0 for v in odds]
    return row, row.index(max(row))


def _query(task: dict[str, Any], i: int, at: list[int], now: int) -> Html:
    names, truth = task["classes"], task["truth"][i]
    guesses = []
    for k, table in enumerate(task["odds"]):
        row, best = _guess(table[i])
        right = best == truth
        sure = f"{number(100 * row[best], 2)} %"
        bar = tag(
            "svg",
            tag("rect", width="100%", height="100%", class_="rail"),
            tag("rect", width=f"{100 * row[best]:.0f}%", height="100%", class_="fill"),
            class_="bar", width="100%", height="5", aria_hidden="true", focusable="false",
        )  # fmt: skip
        word = "right" if right else "wrong"
        said = tag("span", "✓ " if right else "✗ ", tag("span", f"{word}: ", class_="spoken"),
                   names[best], tag("b", f" {sure}"))  # fmt: skip
        guesses.append(
            tag("span", said, bar, class_=f"guess {word}", data_step=str(k), hidden=k != now)
        )
    return tag("li", _picture(task["query"][i], f"query picture of {names[truth]}"), *guesses)


def odds(task: dict[str, Any], at: list[int], now: int) -> Html:
    """Return the probability of the true class for every query example, one row per class.

    Args:
        task: As :mod:`metaccord.report.examples` keeps it.
        at: Numbers of inner steps.
        now: The place in ``at`` that is shown first.
    """
    ways = task["ways"]
    rows = [_row(task, label, ways, now) for label in range(min(ways, 20))]
    scale = tag("p", tag("span", "0 %"), tag("span", "probability of the true class"),
                tag("span", "100 %"), class_="ends")  # fmt: skip
    note = tag(
        "p",
        "One mark per query example. Upper row of a class: before; lower row: now. "
        "Dot: right, cross: wrong. The line is the probability by chance.",
        class_="note",
    )
    return tag("div", *rows, scale, note, class_="odds")


def _row(task: dict[str, Any], label: int, ways: int, now: int) -> Html:
    mine = [i for i, truth in enumerate(task["truth"]) if truth == label]
    before = tag("g", *_marks(task["odds"][0], mine, label, 9), class_="s1")
    after = [
        tag("g", *_marks(table, mine, label, 19), class_="s0", data_step=str(k),
            visibility="visible" if k == now else "hidden")
        for k, table in enumerate(task["odds"])
    ]  # fmt: skip
    chance = f"{100 / ways:.1f}%"
    picture = tag(
        "svg",
        tag("rect", x="0", y="0", width="100%", height=ROOM + 2, class_="rail"),
        tag("line", x1=chance, x2=chance, y1="0", y2=ROOM + 2, class_="mark"),
        before,
        *after,
        width="100%", height=ROOM + 2, class_="strip", role="img",
        aria_label=_told(task, mine, label, now),
    )  # fmt: skip
    return tag("div", tag("span", task["classes"][label], class_="class-name"), picture)


def _marks(table: list[list[float | None]], mine: list[int], label: int, height: int) -> list[Html]:
    found = []
    for i in mine:
        row, best = _guess(table[i])
        x = f"{2 + 96 * row[label]:.1f}%"
        if best == label:
            found.append(tag("circle", cx=x, cy=height, r="4", class_="dot"))
        else:
            found.append(tag("text", "×", x=x, y=height, dy="0.34em", class_="cross"))
    return found


def _told(task: dict[str, Any], mine: list[int], label: int, now: int) -> str:
    def right(table: list[list[float | None]]) -> int:
        return sum(_guess(table[i])[1] == label for i in mine)

    before, after = right(task["odds"][0]), right(task["odds"][now])
    return (
        f"{task['classes'][label]}: {before} of {len(mine)} query examples right before "
        f"adaptation, {after} as trained."
    )
