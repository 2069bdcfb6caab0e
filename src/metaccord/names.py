"""Choosing parameters and modules by name."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Groups = Mapping[str, frozenset[str]]


def selects(name: str, selectors: tuple[str, ...], groups: Groups | None = None) -> bool:
    """Say whether a parameter or module is named by a selector.

    Args:
        name: Its dotted name.
        selectors: Groups (``"batchnorm"``, ``"lora"``), whole names, leading parts such as
            ``"head"``, or patterns such as ``"*.attention"``, in which ``*`` stands for anything,
            dots included, and ``?`` for one character.
        groups: Names of the parameters of each group.

    Example:
        >>> [selects("body.0.query.weight", (s,)) for s in ("body.0", "*.query", "query")]
        [True, True, False]
    """
    groups = groups or {}
    return any(
        name in groups.get(s, ())
        or name == s
        or name.startswith(f"{s}.")
        or (("*" in s or "?" in s) and (fnmatchcase(name, s) or fnmatchcase(name, f"{s}.*")))
        for s in selectors
    )


def groups_of(model: nn.Module) -> dict[str, frozenset[str]]:
    """Return the names of the parameters of each group.

    ``"batchnorm"`` is always there; a module with a string attribute ``group`` (``"lora"``,
    ``"adapters"``) puts all its parameters into that group.
    """
    norms = (n for n, m in model.named_modules() if isinstance(m, _BatchNorm))
    found = {"batchnorm": {f"{n}.{leaf}".lstrip(".") for n in norms for leaf in ("weight", "bias")}}
    for place, module in model.named_modules():
        group = getattr(module, "group", None)
        if isinstance(group, str):
            inside = (f"{place}.{name}".lstrip(".") for name, _ in module.named_parameters())
            found.setdefault(group, set()).update(inside)
    return {name: frozenset(leaves) for name, leaves in found.items()}
