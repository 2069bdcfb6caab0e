"""A map of how tasks relate: cosines of their meta-gradients, alike tasks side by side."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from metaccord.report.context import Context, Section, aside, paragraph, section
from metaccord.report.images import signed_map
from metaccord.report.markup import Html, data, table, tag
from metaccord.report.scales import number, percent

NAMED = 12  # tasks of a group that are named


def relations(page: Context) -> Section | None:
    """Return the map of the first run's tasks."""
    story = page.groups[0].first
    found = story.parts.get("map")
    if not found or len(found.get("order", [])) < 2:
        return None
    which = "" if len(page.stories) == 1 else f" The weights are those of {page.groups[0].name}."
    count = len(found["order"])
    what = (
        f"Each row is one of {count} unseen tasks of the {found['split']} split. A cell is the "
        f"cosine between the {found['kind']}s of two tasks: blue, they pull the meta-trained "
        f"weights in the same direction; orange, against each other; clear, neither.{which} Tasks "
        "with alike gradients stand side by side (average linkage)."
    )
    return section(
        "tasks",
        "How the tasks relate",
        paragraph(what),
        _figure(page, found),
        _trust(found),
        _groups(page, found),
        _classes(found),
    )


def _figure(page: Context, found: dict[str, Any]) -> Html:
    order, names = found["order"], found["names"]
    cosines = np.array([[_number(v) for v in row] for row in found["cosines"]])
    shown = cosines[np.ix_(order, order)]
    identity = page.ids("map")
    groups = [found["groups"][i] for i in order]
    payload = {
        "names": [names[i] for i in order],
        "groups": [g + 1 for g in groups],
        "values": [[None if v != v else round(float(v), 3) for v in row] for row in shown],
    }
    spoken = (
        f"Map of the cosines between {len(order)} tasks in {max(groups) + 1} groups. "
        f"{_told(found)} Arrow keys move over the pairs and read them."
    )
    frame = tag(
        "div",
        _matrix(shown, groups),
        class_="frame square",
        tabindex="0",
        role="group",
        aria_label=spoken,
        data_map=f"{identity}-data",
    )
    key = tag(
        "div",
        tag("span", "−1 against"),
        tag("span", class_="ramp", aria_hidden="true"),
        tag("span", "+1 together"),
        class_="map-key",
    )
    said = tag("p", "Point at a cell, or move with the arrow keys.", class_="said",
               aria_live="polite")  # fmt: skip
    return tag(
        "figure",
        tag("figcaption", tag("h3", "Cosines between the gradients of tasks")),
        tag("div", frame, tag("div", _dendrogram(found), class_="branches"), class_="map"),
        key,
        said,
        data(payload, f"{identity}-data"),
        id=identity,
    )


def _matrix(shown: np.ndarray, groups: list[int]) -> Html:
    count = len(groups)
    return tag(
        "svg",
        tag("image", href=signed_map(shown), x="0", y="0", width=count, height=count,
            preserveAspectRatio="none", class_="crisp"),
        *_borders(groups),
        tag("rect", x="0", y="0", width="1", height="1", class_="cell", visibility="hidden"),
        viewBox=f"-0.2 -0.2 {count + 0.4} {count + 0.4}",
        class_="matrix",
        aria_hidden="true",
        focusable="false",
    )  # fmt: skip


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _borders(groups: list[int]) -> list[Html]:
    """Return frames around the groups on the diagonal."""
    found, start = [], 0
    for i in range(1, len(groups) + 1):
        if i == len(groups) or groups[i] != groups[start]:
            wide = i - start
            found.append(tag("rect", x=start, y=start, width=wide, height=wide, class_="group"))
            size = f"{len(groups) / 24:.2f}"
            name = f"{groups[start] + 1}"
            found.append(
                tag("text", name, x=start, y=start, dx="0.4em", dy="1.1em", font_size=size,
                    class_="group-name")
            )  # fmt: skip
            start = i
    return found


def _dendrogram(found: dict[str, Any]) -> Html:
    """Return the tree of the linkage: from left to right the cosine at which groups met."""
    order, count = found["order"], len(found["order"])
    at = {task: (1.0, place + 0.5) for place, task in enumerate(order)}
    low = min([*(m[2] for m in found["merges"]), 0.0])
    lines = []
    for row, (a, b, cosine) in enumerate(found["merges"]):
        (xa, ya), (xb, yb) = at[a], at[b]
        x = min(xa, xb, cosine)
        lines.append(f"M{_x(xa, low)} {ya:.2f}H{_x(x, low)}V{yb:.2f}H{_x(xb, low)}")
        at[count + row] = (x, (ya + yb) / 2)
    return tag(
        "svg",
        tag("path", d="".join(lines), class_="branch"),
        viewBox=f"0 -0.2 100 {count + 0.4}",
        preserveAspectRatio="none",
        class_="tree",
        aria_hidden="true",
        focusable="false",
    )


def _x(cosine: float, low: float) -> str:
    return f"{100 * (1 - cosine) / (1 - low) if low < 1 else 0:.1f}"


def _told(found: dict[str, Any]) -> str:
    mean, against = number(found["mean"], 2), percent(found["conflicts"])
    return f"Mean cosine {mean}; {against} of the pairs are in conflict (below 0)."


def _trust(found: dict[str, Any]) -> Html:
    """Say how sure the map is."""
    known, rand = found.get("stability"), found.get("rand")
    if known is None:
        sure = (
            "How sure the cosines are was not measured: the query sets cannot be halved, or the "
            "method does not look at them."
        )
    else:
        sure = (
            f"Two halves of the query examples of each task give the same cosines with correlation "
            f"{number(known, 2)}"
        )
        if rand is not None:
            firm = "firm" if rand >= 0.7 else "loose" if rand >= 0.3 else "not to be relied on"
            sure += f", and the same groups with adjusted Rand index {number(rand, 2)}: {firm}"
        sure += "."
    return paragraph(_told(found), " ", sure)


def _groups(page: Context, found: dict[str, Any]) -> Html | None:
    """Return the groups with their members and how they go together."""
    labels = np.array(found["groups"])
    kinds = sorted(set(labels.tolist()))
    if len(kinds) < 2:
        return aside("No cut of the tree separates groups clearly: all tasks are shown as one.")
    cosines = np.array([[_number(v) for v in row] for row in found["cosines"]])
    rows, keys = [], []
    for kind in kinds:
        mine = labels == kind
        inside = cosines[np.ix_(mine, mine)][~np.eye(int(mine.sum()), dtype=bool)]
        outside = cosines[np.ix_(mine, ~mine)].ravel()
        within, across = _mean(inside), _mean(outside)
        members = Counter(found["names"][i] for i in found["order"] if labels[i] == kind)
        rows.append(
            [f"{kind + 1}", str(int(mine.sum())), number(within, 2), number(across, 2),
             _listed(members)]
        )  # fmt: skip
        keys.append([float(kind), float(mine.sum()), within, across, None])
    heads = ["Group", "Tasks", "Cosine inside", "To the others", "Which"]
    return table(heads, rows, caption="Groups of tasks on the map", keys=keys)


def _listed(members: Counter[str]) -> Html:
    shown = [
        f"{name} (×{count})" if count > 1 else name for name, count in members.most_common(NAMED)
    ]
    rest = len(members) - len(shown)
    return tag("span", "; ".join(shown), f"; and {rest} more" if rest > 0 else "")


def _mean(values: np.ndarray) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else float("nan")


def _classes(found: dict[str, Any]) -> Html | None:
    """Return for each class how the tasks that hold it go together and with the rest."""
    sets = [set(classes) for classes in found.get("classes", [])]
    counts = Counter(name for classes in sets for name in classes)
    known = sorted(name for name, count in counts.items() if count >= 2)
    if len(known) < 2 or len(known) > 60:
        return None
    cosines = np.array([[_number(v) for v in row] for row in found["cosines"]])
    rows, keys = [], []
    for name in known:
        mine = np.array([name in classes for classes in sets])
        inside = _mean(cosines[np.ix_(mine, mine)][~np.eye(int(mine.sum()), dtype=bool)])
        outside = _mean(cosines[np.ix_(mine, ~mine)].ravel()) if (~mine).any() else float("nan")
        rows.append([name, str(counts[name]), number(inside, 2), number(outside, 2)])
        keys.append([name, float(counts[name]), inside, outside])
    heads = ["Class", "Tasks with it", "Cosine among them", "To tasks without it"]
    shown = table(heads, rows, caption="Classes on the map", keys=keys)
    return tag("details", tag("summary", "By class"), shown, class_="behind")
