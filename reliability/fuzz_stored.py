"""Readers of what the library writes, with makers of damaged and forged files, and oracles.

Some files are sealed again after the change, as by a hostile author who knows how checksums are
made: otherwise nothing behind the checksum would be tried.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from fuzz_mutations import NASTY, changed_bytes, changed_tree
from fuzz_target import Target

from metaccord import jsontree
from metaccord.analysis import Analysis
from metaccord.checkpoint_files import Checkpoint, load, pack
from metaccord.defaults import default
from metaccord.diagnostics import TrajectoryScores
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.experiment import Experiment
from metaccord.protocol import Protocol
from metaccord.rundir import RunDirectory
from metaccord.serial import VALUES, from_tree, to_tree
from metaccord.stored import stored, versions

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}
STATE = {"plan": {"class": "Plan", "chunk": 2}, "best": {"loss": 0.5}, "list": [1, None, "x"]}
CHECKPOINT = Checkpoint(7, TENSORS, STATE)
FILES = pack(CHECKPOINT)
EXPERIMENT = default("sinusoid", "reptile", ["agreement", "coherent"])
METHODS = [default("sinusoid", b).method for b in ("maml", "imaml", "maml_pp", "meta_sgd")]
RECORD = {
    "step": 1,
    "seconds": 0.1,
    "query_loss": 2.5,
    "agreement.weights": [0.5, {"$float": "nan"}],
}
SETTINGS = [
    "rule.lr=0.1", "model.hidden=[40,40]", "agreement.x=1", "plan.chunk=all", "steps=3", "seed=1",
    "tasks.amplitude=[0.1,5]", "outer.schedule=linear", 'method.rule={"class":"SGD","steps":1}',
    'rule.only=["head"]', "plan.memory=4GiB", "device=cpu", "threads=null", "rule.class=Adam",
    'tasks={"class":"Quadratics"}', 'model={"class":"MLP"}', "outer.clip_norm=1e9",
]  # fmt: skip


def _lay(place: Path, files: dict[str, bytes]) -> Path:
    folder = place / "step-000007"
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _make_damage(draw: Random) -> dict[str, bytes]:
    name = draw.choice(list(FILES))
    return {**FILES, name: changed_bytes(draw, FILES[name])}


def _damaged(files: dict[str, bytes], place: Path) -> None:
    found = load(_lay(place, files))
    assert found.step == 7
    assert found.state == STATE
    assert all(torch.equal(found.tensors[k], v) for k, v in TENSORS.items())


def _make_resealed(draw: Random) -> dict[str, bytes]:
    files = dict(FILES)
    tensors, state = files["tensors.safetensors"], json.loads(files["state.json"])
    kind = draw.randrange(4)
    if kind == 0:
        files["tensors.safetensors"] = changed_bytes(draw, tensors)
    elif kind == 1:
        size = int.from_bytes(tensors[:8], "little")
        header = json.dumps(changed_tree(draw, json.loads(tensors[8 : 8 + size]))).encode()
        files["tensors.safetensors"] = (
            len(header).to_bytes(8, "little") + header + tensors[8 + size :]
        )
    elif kind == 2:
        files["state.json"] = json.dumps(changed_tree(draw, state)).encode()
    else:
        files["state.json"] = changed_bytes(draw, files["state.json"])
    manifest = jsontree.unseal(files["manifest.json"])
    for name, facts in manifest["files"].items():
        facts |= {"sha256": hashlib.sha256(files[name]).hexdigest(), "size": len(files[name])}
    if draw.random() < 0.3:
        manifest = changed_tree(draw, manifest)
    files["manifest.json"] = resealed(manifest)
    return files


def resealed(tree: Any) -> bytes:
    """Seal a tree that ``jsontree`` itself may refuse."""
    digest = hashlib.sha256(json.dumps(tree).encode()).hexdigest()
    return (json.dumps({"content": tree, "sha256": digest}, indent=1) + "\n").encode()


def _resealed(files: dict[str, bytes], place: Path) -> None:
    found = load(_lay(place, files))
    assert found.step == 7
    assert isinstance(found.state, dict)
    assert all(v.isfinite().all() for v in found.tensors.values() if v.is_floating_point())


def _decoded(text: bytes, place: Path) -> None:
    found = jsontree.decode(text)
    if not _tagged(found):
        assert jsontree.encode(jsontree.decode(jsontree.encode(found))) == jsontree.encode(found)


def _tagged(tree: Any) -> bool:
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return any(map(_tagged, items)) or (isinstance(tree, dict) and set(tree) == {"$float"})


SEALED = jsontree.seal({"a": [1, 0.5, float("nan")], "b": {"c": "é"}})


def _make_sealed(draw: Random) -> bytes:
    """Return a changed document, or now and then the true one, which must be read."""
    return SEALED if draw.random() < 0.02 else changed_bytes(draw, SEALED)


def _unsealed(document: bytes, place: Path) -> None:
    jsontree.unseal(document)
    assert document == SEALED


def _make_records(draw: Random) -> bytes:
    lines = [json.dumps({**RECORD, "step": k}).encode() for k in range(1, 5)]
    if draw.random() < 0.5:
        return changed_bytes(draw, b"\n".join(lines) + b"\n")
    which = draw.randrange(4)
    lines[which] = json.dumps(changed_tree(draw, json.loads(lines[which]))).encode()
    return b"\n".join(lines) + b"\n"


def _run(place: Path, experiment: Any = None) -> Path:
    tree = EXPERIMENT.tree() if experiment is None else experiment
    config = {"experiment": tree, "versions": versions()}
    (place / "run.json").write_bytes(resealed(config))
    return place


def _records(content: bytes, place: Path) -> None:
    (place / "records.jsonl").write_bytes(content)
    found = RunDirectory.read(_run(place)).records()
    assert all(type(record["step"]) is int for record in found)


def _config(tree: Any, place: Path) -> None:
    found = stored(RunDirectory.read(_run(place, tree)))
    assert isinstance(found, Experiment)
    assert Experiment.from_tree(found.tree()) == found


def _value(tree: Any, place: Path) -> None:
    found = from_tree(tree)
    if type(found).__name__ in VALUES:
        assert from_tree(to_tree(found)) == found


def _make_setting(draw: Random) -> str:
    text = draw.choice(SETTINGS)
    if draw.random() < 0.5:
        name = text.partition("=")[0]
        return f"{name}={json.dumps(draw.choice(NASTY))}"
    return changed_bytes(draw, text.encode()).decode("utf-8", "surrogateescape")


def _setting(text: str, place: Path) -> None:
    found = EXPERIMENT.changed([text])
    assert Experiment.from_tree(found.tree()) == found


def _make_analysis(draw: Random) -> bytes:
    interval = {"mean": 0.5, "half": 0.1}
    scores = {
        name: 0 if "int" in str(kind) else interval
        for name, kind in TrajectoryScores.__annotations__.items()
    } | {"protocol": vars(Protocol(tasks=4))}
    how = {
        "protocol": vars(Protocol(steps=5)),
        "curvature_tasks": 2,
        "metaccord": versions()["metaccord"],
    }
    tree = {"how": how, "points": {"0": {"checkpoint": "", "scores": scores}}}
    return resealed(changed_tree(draw, tree))


class AnewError(Exception):
    """Stored measurements that are put aside with a warning, the documented answer to damage."""


def _analysis(document: bytes, place: Path) -> None:
    (place / "checkpoints").mkdir(exist_ok=True)
    _lay(place / "checkpoints", FILES)
    (_run(place) / "analysis.json").write_bytes(document)
    if not Analysis(place, Protocol(), 2).points:
        raise AnewError


def _tree_of(good: Any) -> Callable[[Random], Any]:
    return lambda draw: changed_tree(draw, good)


TARGETS: dict[str, Target] = {
    "checkpoint": Target((CheckpointError,), _make_damage, _damaged),
    "tensors": Target((CheckpointError,), _make_resealed, _resealed),
    "json": Target(
        (ValueError,), lambda d: json.dumps(changed_tree(d, [RECORD, STATE])).encode(), _decoded
    ),
    "sealed": Target((ValueError,), _make_sealed, _unsealed),
    "records": Target((CheckpointError,), _make_records, _records),
    "run": Target((CheckpointError, DataError), _tree_of(EXPERIMENT.tree()), _config),
    "value": Target(
        (UsageError, DataError), lambda d: changed_tree(d, to_tree(d.choice(METHODS))), _value
    ),
    "setting": Target((UsageError, DataError), _make_setting, _setting),
    "analysis": Target((AnewError,), _make_analysis, _analysis),
}
