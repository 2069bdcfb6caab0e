"""Run folders that are not what they should be, each one change away from a good one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_stored import resealed

from metaccord import jsontree

Harm = Callable[[Path], object]
NEWEST = "checkpoints/step-000004"


def config(change: Callable[[dict[str, Any]], object]) -> Harm:
    """Change the configuration and seal it again, as another version would have written it."""

    def harm(run: Path) -> None:
        tree = jsontree.unseal((run / "run.json").read_bytes())
        change(tree)
        (run / "run.json").write_bytes(resealed(tree))

    return harm


def setting(*path: str, value: Any) -> Harm:
    """Change one setting of the stored experiment."""

    def change(tree: dict[str, Any]) -> None:
        node = tree["experiment"]
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = value

    return config(change)


def content(name: str, data: bytes) -> Harm:
    """Put another content into a file."""
    return lambda run: (run / name).write_bytes(data)


def gone(name: str) -> Harm:
    """Remove a file or folder."""

    def harm(run: Path) -> None:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()

    return harm


def folder(name: str) -> Harm:
    """Put a folder in place of a file."""

    def harm(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return harm


def pipe(name: str) -> Harm:
    """Put a named pipe in place of a file."""

    def harm(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

    return harm


def both(name: str, harm: Callable[[Path], object]) -> Harm:
    """Do something to a file of both checkpoints."""

    def each(run: Path) -> None:
        for step in ("000002", "000004"):
            harm(run / f"checkpoints/step-{step}" / name)

    return each


def format_of(number: Any) -> Harm:
    """Give both manifests another format number."""

    def harm(path: Path) -> None:
        manifest = jsontree.unseal(path.read_bytes())
        path.write_bytes(resealed({**manifest, "format": number}))

    return both("manifest.json", harm)


def exchanged(run: Path) -> None:
    """Give each checkpoint the name of the other."""
    one, other = (run / f"checkpoints/step-{step}" for step in ("000002", "000004"))
    one.rename(run / "aside")
    other.rename(one)
    (run / "aside").rename(other)


def records(*lines: Any) -> Harm:
    """Write other records."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    return content("records.jsonl", text.encode("utf-8", "surrogateescape"))


READERS = ("evaluate run", "analyse run", "compare run ./run")
RUN = ["run.json"]
NEWER = ["run.json", "this version refuses", "version of metaccord that wrote it"]
CONFIG: dict[str, tuple[Harm, list[str]]] = {
    "empty": (content("run.json", b""), [*RUN, "damaged", "restore"]),
    "no JSON": (content("run.json", b"hello"), [*RUN, "damaged"]),
    "another JSON": (content("run.json", b"{}"), [*RUN, "not a sealed document"]),
    "a list": (content("run.json", resealed([])), [*RUN, "no JSON object"]),
    "unsealed": (content("run.json", b'{"content": {}, "sha256": "0"}'), [*RUN, "sha256"]),
    "deep": (content("run.json", b"[" * 90_000), [*RUN, "nested too deeply"]),
    "a folder": (folder("run.json"), [*RUN, "damaged"]),
    "a pipe": (pipe("run.json"), [*RUN, "not a regular file"]),
    "no experiment": (config(lambda t: t.pop("experiment")), ["without an experiment"]),
    "an empty experiment": (config(lambda t: t.update(experiment={})), [*NEWER, "missing"]),
    "an odd experiment": (config(lambda t: t.update(experiment=3)), NEWER),
    "a new field": (setting("newer", value=1), [*NEWER, "'newer'"]),
    "a new rule": (
        setting("method", "rule", "class", value="SGD2"),
        [*NEWER, "did you mean 'SGD'"],
    ),
    "a new model": (setting("model", "class", value="MLP2"), [*NEWER, "did you mean 'MLP'"]),
    "new tasks": (setting("tasks", "class", value="Sinus"), [*NEWER, "did you mean 'Sinusoid'"]),
    "a new option": (setting("tasks", "noise", value=0.1), [*NEWER, "tasks.noise"]),
    "a wrong type": (setting("method", "rule", "lr", value="fast"), [*NEWER, "method.rule.lr"]),
    "a wrong range": (setting("method", "rule", "lr", value=-1.0), [*NEWER, "rule.lr is -1.0"]),
    "no rule": (setting("method", "rule", value=None), [*NEWER, "method.rule is None"]),
    "a huge size": (setting("model", "hidden", value=[10**30]), [*NEWER, "model.hidden"]),
    "a module as model": (setting("model", "class", value="os.system"), [*NEWER, "unknown model"]),
}
STATE: dict[str, tuple[Harm, list[str]]] = {
    "another model": (setting("model", "hidden", value=[5]), ["another model", "names or shapes"]),
    "a deeper model": (setting("model", "hidden", value=[4, 4]), ["another model"]),
    "format 2": (format_of(2), ["format 2", "this version reads 1", "that wrote it"]),
    "format 0": (format_of(0), ["format 0", "this version reads 1"]),
    "no format": (format_of(None), ["format None"]),
    "odd format": (format_of("x"), ["format 'x'"]),
    "no checkpoints": (gone("checkpoints"), ["no checkpoint"]),
    "exchanged": (exchanged, ["no intact checkpoint among 2"]),
    "no tensors": (both("tensors.safetensors", Path.unlink), ["no intact checkpoint among 2"]),
    "no states": (both("state.json", Path.unlink), ["no intact checkpoint among 2"]),
    "no manifests": (both("manifest.json", Path.unlink), ["no intact checkpoint among 2"]),
    "one file more": (both("x", lambda path: path.write_text("x")), ["no intact checkpoint"]),
    "empty tensors": (both("tensors.safetensors", lambda p: p.write_bytes(b"")), ["no intact"]),
}
LOGS: dict[str, tuple[Harm, list[str]]] = {
    "no records": (gone("records.jsonl"), ["records.jsonl", "cannot be read", "restore"]),
    "a folder": (folder("records.jsonl"), ["records.jsonl", "cannot be read"]),
    "a pipe": (pipe("records.jsonl"), ["records.jsonl", "not a regular file"]),
    "no JSON": (records("hello", {"step": 2}), ["records.jsonl', line 1", "damaged"]),
    "no step": (records({"loss": 1.0}, {"step": 2}), ["line 1", "expected one record"]),
    "a step in words": (records({"step": "1"}, {"step": 2}), ["line 1"]),
    "a list": (records([1], {"step": 2}), ["line 1"]),
    "no number": (records('{"step": 1, "loss": NaN}', {"step": 2}), ["line 1"]),
    "a wrong float": (records('{"step": 1, "x": {"$float": []}}', {"step": 2}), ["line 1"]),
    "no text": (records("\udcff\udcfe", {"step": 2}), ["line 1"]),
    "an empty line": (records({"step": 1}, "", {"step": 2}), ["line 2"]),
    "deep": (records("[" * 5000, {"step": 2}), ["line 1"]),
}
