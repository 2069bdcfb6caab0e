"""Real test tasks before and after adaptation, with a slider over the inner steps."""

from __future__ import annotations

from typing import Any

from metaccord.report.charts import Line, Look, chart
from metaccord.report.context import Context, Section, grid, paragraph, section
from metaccord.report.curves import curve, plot, points
from metaccord.report.markup import Html, joined, table, tag
from metaccord.report.panels.guesses import odds, pictures
from metaccord.report.scales import Scale, number, scale

NOT_CHOSEN = "These are the first tasks of the split, not chosen by their results."


def examples(page: Context) -> Section | None:
    """Return the tasks of each group's first run."""
    blocks = []
    for group in page.groups:
        found = group.first.parts.get("examples")
        if found and found.get("tasks"):
            name = None if page.single else tag("h3", group.name)
            blocks.append(tag("div", name, _block(page, found), class_="stepped"))
    if not blocks:
        return None
    return section("examples", "Before and after", paragraph(NOT_CHOSEN), *blocks)


def _block(page: Context, found: dict[str, Any]) -> Html:
    draw = {"curve": _curve, "values": _values, "odds": odds, "pictures": pictures}
    kind = found["kind"]
    at, now = found["at"], found["at"].index(found["trained"])
    if kind not in draw:
        return joined([_losses(page, found)])
    figures = []
    for task in found["tasks"]:
        title = tag("h4", task["name"])
        figures.append(
            tag(
                "figure",
                tag("figcaption", title, _verdict(task, at, now)),
                draw[kind](task, at, now),
                class_="chart small" if kind != "pictures" else "chart",
            )
        )
    body = grid(*figures) if kind != "pictures" else joined(figures)
    return joined([_slider(page, at, now), body, _table(found)])


def _slider(page: Context, at: list[int], now: int) -> Html:
    """Return the control over the inner steps; without a script the trained number is shown."""
    identity = page.ids("steps")
    slider = tag(
        "input", type="range", id=identity, min="0", max=str(len(at) - 1), value=str(now), step="1",
        data_at=",".join(map(str, at)), data_trained=str(at[now]),
        aria_describedby=f"{identity}-said",
    )  # fmt: skip
    said = tag("output", _steps(at[now], at[now]), id=f"{identity}-said", for_=identity)
    return tag(
        "p", tag("label", "Gradient steps on the support set", for_=identity), slider, said,
        class_="slider",
    )  # fmt: skip


def _steps(count: int, trained: int) -> str:
    return f"{count}, as trained" if count == trained else str(count)


def _verdict(task: dict[str, Any], at: list[int], now: int) -> Html:
    """Return loss and accuracy before, and after each number of steps."""
    losses, right = task["losses"], task.get("right")

    def told(k: int) -> str:
        shown = f"loss {number(losses[k])}"
        return f"{shown}, {number(100 * right[k])} % right" if right else shown

    after = [_at(k, now, told(k)) for k in range(len(at))]
    return tag("p", f"Before: {told(0)}. Now: ", *after, ".", class_="note")


def _at(k: int, now: int, *children: object) -> Html:
    return tag("span", *children, data_step=str(k), hidden=k != now)


def _axes(task: dict[str, Any]) -> tuple[Scale, Scale]:
    heights = [*task["query"][1], *task["support"][1]]
    for one in task["curves"]:
        heights += one
    xs = scale(task["grid"], most=5)
    low, high = min(task["grid"]), max(task["grid"])
    ticks = tuple(t for t in xs.ticks if low <= t <= high)
    known = [h for h in heights if h is not None]
    return xs._replace(low=low, high=high, ticks=ticks), scale(known, most=4)


def _curve(task: dict[str, Any], at: list[int], now: int) -> Html:
    xs, ys = _axes(task)
    truth = Line("truth", task["query"][0], task["query"][1], colour=-1)
    before = Line("before", task["grid"], task["curves"][0], colour=1, dashed=True)
    after = [
        curve(
            Line("now", task["grid"], one, colour=0),
            xs,
            ys,
            data_step=str(k),
            visibility=_seen(k, now),
        )
        for k, one in enumerate(task["curves"])
    ]
    support = Line("support", task["support"][0], task["support"][1], colour=-1)
    drawn = [curve(truth, xs, ys, data_role="truth"), curve(before, xs, ys), *after]
    picture = plot(xs, ys, drawn, [points(support, xs, ys, kind="hollow", size="4.5")])
    spoken = (
        f"{len(support.x)} support points, the true values of the query points, the curve of the "
        f"model before adaptation and after the chosen number of steps. Loss before "
        f"{number(task['losses'][0])}, as trained {number(task['losses'][now])}."
    )
    key = _key(("truth", "ink line"), ("before", "s1 line dashed"), ("now", "s0 line"),
               ("support", "hollow"))  # fmt: skip
    return tag("div", key, tag("div", picture, class_="frame", role="img", aria_label=spoken))


def _seen(k: int, now: int) -> str:
    return "visible" if k == now else "hidden"


def _key(*marks: tuple[str, str]) -> Html:
    found = []
    for name, look in marks:
        colour, *rest = look.split(" ", 1)
        shape = (
            tag("circle", cx="11", cy="5", r="4", class_="hollow")
            if colour == "hollow"
            else tag("line", x1="0", x2="22", y1="5", y2="5", class_=rest[0])
        )
        mark = tag("svg", shape, width="22", height="10", aria_hidden="true",
                   class_="ink" if colour == "hollow" else colour)  # fmt: skip
        found.append(tag("span", mark, name))
    return tag("p", *found, class_="key")


def _values(task: dict[str, Any], at: list[int], now: int) -> Html:
    """Return predictions against the truth."""
    everything = [*task["truth"], *(v for one in task["predicted"] for v in one)]
    both = scale([v for v in everything if v is not None], most=4)
    diagonal = Line("", [both.low, both.high], [both.low, both.high], colour=-1)
    before = Line("before", task["truth"], task["predicted"][0], colour=1)
    after = [
        points(Line("now", task["truth"], one, colour=0), both, both, data_step=str(k),
               visibility=_seen(k, now))
        for k, one in enumerate(task["predicted"])
    ]  # fmt: skip
    picture = plot(
        both, both, [curve(diagonal, both, both, data_role="truth")],
        [points(before, both, both, kind="hollow"), *after],
    )  # fmt: skip
    spoken = (
        f"Predictions against true values of {len(task['truth'])} query examples. Loss before "
        f"{number(task['losses'][0])}, as trained {number(task['losses'][now])}."
    )
    note = tag(
        "p", "Across: true value; up: prediction. Circles: before, dots: now.", class_="note"
    )
    return tag("div", tag("div", picture, class_="frame", role="img", aria_label=spoken), note)


def _losses(page: Context, found: dict[str, Any]) -> Html:
    lines = [
        Line(task["name"], [float(k) for k in found["at"]], task["losses"], colour=i % 8)
        for i, task in enumerate(found["tasks"])
    ]
    look = Look("Loss of single tasks", "Query loss after each inner step.", x="inner steps",
                y="loss", log=None)  # fmt: skip
    return chart(page.ids, lines, look)


def _table(found: dict[str, Any]) -> Html:
    """Return losses and accuracies of the tasks after each number of steps."""
    rows = []
    for task in found["tasks"]:
        right = task.get("right")
        cells = [
            f"{number(loss)}{f' ({number(100 * right[k])} %)' if right else ''}"
            for k, loss in enumerate(task["losses"])
        ]
        rows.append([task["name"], *cells])
    heads = ["Task", *(f"{k} steps" if k != 1 else "1 step" for k in found["at"])]
    kind = "Query loss (and accuracy) of these tasks" if found["tasks"][0].get("right") else "Loss"
    shown = table(heads, rows, caption=f"{kind} by inner steps")
    return tag("details", tag("summary", "Values as a table"), shown, class_="behind")
