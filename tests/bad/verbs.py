"""Bad values for every option of every verb, made from the signatures of the verbs.

The parser of words answers for what is no number or is missing, the verb for the rest.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from metaccord.cli.main import VERBS

FLOATS = ("x", "", "nan", "inf", "-inf", "--", "0x10", "-1", "0", "-1e300")
NUMBERS = ("x", "", "1.5", "nan", "1e3", "--", "0x10", "-1", "-9223372036854775809", f"1{'0' * 30}")
WORDS = ("no-such-word", "", "9" * 3000, "a\tb", "é")
START = {
    "train": "train sinusoid",
    "evaluate": "evaluate nowhere",
    "compare": "compare sinusoid",
    "adapt": "adapt nowhere nowhere --out m",
    "predict": "predict nowhere nowhere",
    "export": "export nowhere --out m.pt2",
    "analyse": "analyse nowhere",
    "plot": "plot nowhere",
    "report": "report nowhere",
    "data": "data list",
    "cite": "cite maml",
    "demo": "demo",
    "doctor": "doctor tests.bad.sources:setup",
    "selftest": "selftest",
}
CALLED = {
    "curvature-tasks": "curvature",
    "bases": "",
    "with": "",
    "methods": "",
    "branch": "branch",
    "step": "",
}
PENDING = {("evaluate", "split", word): "the folder is looked at first" for word in WORDS}
GRID = ("bases", "with", "fraction")


class Option(NamedTuple):
    """One option of a verb.

    Attributes:
        verb, name: As written on the command line.
        kind: ``int``, ``bool``, ``str`` or ``Path``.
    """

    verb: str
    name: str
    kind: Any

    @property
    def bad(self) -> tuple[str, ...]:
        """What it must not be; folders are tried elsewhere."""
        if self.kind in (int, float):
            return NUMBERS if self.kind is int else FLOATS
        return WORDS if self.kind is str and self.name != "out" else ()

    def culprits(self, value: str) -> list[str]:
        """Return what the message must name: the option, and a word as it was given."""
        named = CALLED.get(self.name, self.name)
        word = repr(value)[1:20] if self.kind is str and value else ""
        return [part for part in (named, word) if part]

    def words(self, value: str) -> list[str]:
        """Return the command line."""
        grid = ["--grid"] if self.verb == "compare" and self.name in GRID else []
        few = ["--methods", "maml"] if self.verb == "compare" and self.name != "methods" else []
        return [
            *START.get(self.verb, f"{self.verb} nowhere").split(),
            *grid,
            *([] if grid else few),
            f"--{self.name}={value}",
        ]


def options() -> Iterator[Option]:
    """Walk over the named options of all verbs."""
    for verb in VERBS:
        hints = get_type_hints(verb, include_extras=True)
        for name, parameter in inspect.signature(verb).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                hint = _plain(hints[name])
                yield Option(verb.__name__, name.rstrip("_").replace("_", "-"), hint)


def _plain(hint: Any) -> Any:
    """Return the type inside annotations and unions with None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (one for one in get_args(hint) if one is not types.NoneType)
        return _plain(hint)
    if get_origin(hint) is tuple:
        return str
    if get_origin(hint) is Literal:
        return Literal
    assert hint in (int, float, bool, str, Path), f"say what is bad for {hint}"
    return hint
