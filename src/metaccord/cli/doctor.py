"""``metaccord doctor``."""

from __future__ import annotations

import importlib
import json as jsonlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from torch import Tensor, nn

from metaccord.cli.options import Interactions, Name, Number, Settings, Switch, interaction_names
from metaccord.doctor import Report, check
from metaccord.errors import UsageError, unknown
from metaccord.method import Method
from metaccord.methods import AGGREGATORS, BASES, WRAPPERS, maml
from metaccord.serial import from_tree, to_tree
from metaccord.settings import parse_setting, put
from metaccord.tasks import TaskSource
from metaccord.types import Episode

Place = Annotated[
    str, tyro.conf.arg(metavar="MODULE:FACTORY", help_behavior_hint=""), tyro.conf.Positional
]


class Setup(NamedTuple):
    """What a factory returns; any tuple or dict of the same parts will do.

    Attributes:
        model: The module.
        criterion: ``criterion(outputs, targets) -> []``.
        tasks: A task source, or one episode.
        method: What will be trained; None: MAML, or what the command line says.
    """

    model: nn.Module
    criterion: Callable[[Any, Any], Tensor]
    tasks: TaskSource | Episode
    method: Method | None = None


MOST_STEPS = 1000  # inner steps whose graph is looked at


def doctor(
    setup: Place,
    *,
    method: Name = None,
    with_: Interactions = None,
    steps: Number = None,
    json: Switch = False,
    set: Settings = (),
) -> int:
    """Check your own model, loss and tasks: is the meta-gradient right, is anything wrong?

    The exit code is 0 without fault, 5 if the meta-gradient is wrong, 2 for other faults of the
    model or the loss, 3 for faults of the tasks.

    Args:
        setup: A function without arguments in a module that can be imported from here; it returns
            model, criterion, tasks and, if you like, a method, as a tuple or a dict.
        method: maml, fomaml, reptile, ...; it goes before the factory's method.
        with_: Interactions, separated by commas.
        steps: Inner steps.
        json: Print one JSON object.
        set: Settings of the method, for example rule.lr=0.1.
    """
    if steps is not None and not 0 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps is {steps}: it must be in 0 .. {MOST_STEPS}")
    found = made(setup)
    chosen = _method(found.method, method, with_).with_steps(steps)
    report = check(found.model, found.criterion, _changed(chosen, set), found.tasks)
    print(jsonlib.dumps(report.json()) if json else table(report))
    return report.exit_code


def made(place: str) -> Setup:
    """Import a module, call its factory and return the parts.

    Errors of the user's code keep their traceback.

    Raises:
        UsageError: if there is no such module or factory, or if it returns something else.
    """
    module, colon, name = place.partition(":")
    if not colon or not module or not name:
        raise UsageError(f"{place!r} is not MODULE:FACTORY: write for example mymodel:setup")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # a module that the user's own code imports
        raise UsageError(f"there is no module {module!r} here: run from its folder") from error
    finally:
        sys.path.pop(0)
    factory = getattr(found, name, None)
    if not callable(factory):
        names = [key for key, value in vars(found).items() if callable(value)]
        raise unknown(f"function of {module}", name, names or [name])
    parts = factory()
    try:
        setup = Setup(**parts) if isinstance(parts, dict) else Setup(*parts)
    except TypeError as error:
        raise UsageError(
            f"{place} returned {type(parts).__name__}, expected model, criterion, tasks and "
            f"perhaps a method ({error})"
        ) from error
    kinds = {"model": nn.Module, "tasks": TaskSource | Episode, "method": Method | None}
    for part, kind in kinds.items():
        value = getattr(setup, part)
        if not isinstance(value, kind):
            raise UsageError(f"{place} returned {type(value).__name__} as {part}")
    return setup


def table(report: Report) -> str:
    """Return the report as a table for people."""
    rows = [(f.level, f.code, f.message, f.remedy) for f in report.findings]
    wide = max((len(code) for _, code, _, _ in rows), default=0)
    lines = []
    for level, code, message, remedy in rows:
        lines += [f"{level:8}{code:{wide}}  {message}", f"{'':{wide + 10}}remedy: {remedy}"]
    if report.certificate is not None:
        lines += [f"certificate {report.certificate}"]
        lines += [f"{'':12}{note}" for note in report.certificate.notes]
    return "\n".join([*lines, "healthy" if report.healthy else "not healthy"])


def _method(own: Method | None, base: str | None, with_: str | None) -> Method:
    method = own or maml()
    if base is not None:
        if base not in BASES:
            raise unknown("method", base, BASES)
        method = BASES[base]()
    wrappers = WRAPPERS | AGGREGATORS
    for name in interaction_names(with_):
        if name not in wrappers:
            raise unknown("interaction", name, wrappers)
        method = wrappers[name](method)
    return method


def _changed(method: Method, settings: tuple[str, ...]) -> Method:
    """Return the method with settings such as ``rule.lr=0.1`` applied."""
    for setting in settings:
        path, text = parse_setting(setting)
        parts = {part.name: part for part in method.interactions}
        if len(path) != 2 or path[0] not in ("rule", "estimator", *parts):
            raise unknown("setting", ".".join(path), ["rule.lr", "estimator.first_order", *parts])
        owner, name = path
        part = parts[owner] if owner in parts else getattr(method, owner)
        node = to_tree(part)
        put(node, name, text)
        fresh = from_tree(node, owner)
        if owner in parts:
            others = tuple(fresh if p is part else p for p in method.interactions)
            method = replace(method, interactions=others)
        else:
            method = replace(method, **{owner: fresh})
    return method
