"""Write docs/methods/*.md from docstrings, citations and the measured cost.

    python docs/method_pages.py

A page has no sentence of its own: what it says about a method is said where the method is written.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metaccord.citations import CITATIONS
from metaccord.methods import BASES, WRAPPERS, maml

HERE = Path(__file__).parent
COST = HERE.parent / "results" / "cost" / "record.json"
SECTIONS = (
    "Args", "Shape", "Meets", "State", "Notes recorded", "Raises", "Reference", "Differs",
    "Example", "Attributes", "Returns",
)  # fmt: skip


def sections(thing: Any) -> dict[str, str]:
    """Return the parts of a docstring by heading; the text before the first one is ``""``."""
    text = inspect.cleandoc(thing.__doc__)
    found, heading = {"": ""}, ""
    for line in text.splitlines():
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            heading = line.rstrip(":")
            found[heading] = ""
        else:
            found[heading] += line + "\n"
    return {k: inspect.cleandoc(v) if k else v.strip() for k, v in found.items()}


def markdown(text: str) -> str:
    """Return reStructuredText roles and formulas as Markdown."""
    text = re.sub(r":math:`([^`]*)`", lambda m: f"${' '.join(m[1].split())}$", text)
    text = re.sub(r":(?:class|func|data|meth):`(?:metaccord\.)?([^`]*)`", r"`mc.\1`", text)
    text = text.replace("``", "`")
    blocks, formula, lines = [], [], text.splitlines()
    for line in [*lines, "end"]:
        inside = formula and (line.startswith("    ") or not line.strip())
        if line.startswith(".. math::"):
            formula = [line.removeprefix(".. math::")]
        elif inside:
            formula.append(line)
        else:
            if formula:
                blocks += ["$$", " ".join(" ".join(formula).split()), "$$", ""]
                formula = []
            blocks.append(line)
    return "\n".join(blocks[:-1]).strip()


def arguments(text: str) -> str:
    """Return the lines ``name: meaning`` as a list."""
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith("    ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line.strip())
    shown = [re.sub(r"^([\w, ]+):", lambda m: f"- `{m[1]}`:", item) for item in items if item]
    return markdown("\n".join(shown))


def part(title: str, thing: Any) -> list[str]:
    """Return what the docstring of a class says, below a heading."""
    found = sections(thing)
    lines = [f"## {title}: `{thing.__name__}`", "", markdown(found[""]), ""]
    for heading in ("Args", "State", "Notes recorded", "Shape", "Meets"):
        if heading in found:
            told = arguments(found[heading]) if heading == "Args" else markdown(found[heading])
            lines += [f"**{heading}.**", "", told, ""]
    for heading in ("Differs", "Reference"):
        if heading in found:
            lines += [f"**{heading}.** {markdown(found[heading])}", ""]
    return lines


def cost(name: str) -> list[str]:
    """Return the measured time and memory of a method, relative to MAML."""
    record = json.loads(COST.read_text())
    steps, machine = record["options"]["steps"], record["machine"]
    lines = ["## Cost", "", "| problem | time | memory |", "|---|---|---|"]
    for case, facts in record["cases"].items():
        fact = facts.get(name)
        if fact is None:
            return []
        spread = f"{fact['low']:.2f} to {fact['high']:.2f}"
        lines.append(f"| {case} | {fact['times']:.2f} ({spread}) | {fact['memory']:.2f} |")
    told = (
        f"Times MAML's with {steps} inner steps on one thread of {machine['cpu']} "
        f"({record['date'][:10]}; `python benchmarks/cost.py`)."
    )
    return [*lines, "", told, ""]


def page(name: str, preset: Callable[..., Any], parts: list[tuple[str, Any]], bib: str) -> str:
    """Return one page."""
    found = sections(preset)
    word = f"maml+{name}" if name in WRAPPERS else name
    lines = [
        f"# {name}",
        "",
        markdown(found[""]),
        "",
        f"`mc.methods.{preset.__name__}{_bare(inspect.signature(preset))}`",
        "",
        arguments(found.get("Args", "")),
        "",
    ]
    for title, thing in parts:
        lines += part(title, thing)
    picture = HERE / "pictures" / "methods" / f"{name}.svg"
    if picture.exists():
        lines += [f"![{name}](../pictures/methods/{name}.svg)", ""]
    if COST.exists():
        lines += cost(word)
    lines += ["## Cite", "", "```bibtex", bib, "```", ""]
    return "\n".join(lines)


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature without types, which the text below tells."""
    empty = inspect.Parameter.empty
    bare = [one.replace(annotation=empty) for one in signature.parameters.values()]
    return inspect.Signature(bare)


def pages() -> dict[str, str]:
    """Return all pages by name."""
    found = {}
    for name, preset in BASES.items():
        method = preset()
        parts = [("Inner loop", type(method.rule)), ("Meta-gradient", type(method.estimator))]
        found[name] = page(name, preset, parts, CITATIONS[name])
    for name, wrap in WRAPPERS.items():
        one = wrap(maml()).interactions[-1]
        found[name] = page(name, wrap, [("Interaction", type(one))], one.reference)
    found["README"] = index()
    return found


def index() -> str:
    """Return the list of all pages."""
    lines = ["# Methods", "", "| | |", "|---|---|"]
    for name, preset in (BASES | WRAPPERS).items():
        first = sections(preset)[""].splitlines()[0]
        lines.append(f"| [{name}]({name}.md) | {first} |")
    told = "Written by `python docs/method_pages.py` from docstrings, citations and records."
    return "\n".join([*lines, "", told, ""])


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (HERE / "methods" / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
