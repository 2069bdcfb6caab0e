"""Readers of people's own files, adapted models and scores, with makers of damaged ones."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from fuzz_data import npy, zipped
from fuzz_mutations import changed_bytes, changed_tree
from fuzz_stored import resealed
from fuzz_target import Target
from PIL import Image

import metaccord as mc
from metaccord import jsontree
from metaccord.data import tars
from metaccord.data.pictures.decode import Form, decode, look
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, UsageError
from metaccord.learner import Origin
from metaccord.scores import Scores

GROUPS, ROWS = 6, 8
LARGEST = 1 << 16  # bytes of one member of an archive
REFUSALS = (DataError, UsageError)


def _csv() -> bytes:
    lines = ["g,colour,x,y"]
    for row in range(GROUPS * ROWS):
        colour = ("red", "blue", "", "grün")[row % 4]
        lines.append(f"s{row // ROWS},{colour},{row * 0.25 - 3},{row % 7}.5")
    return ("\n".join(lines) + "\n").encode()


def _pictures() -> list[bytes]:
    found = []
    pixels = (np.indices((12, 15, 3)).sum(0) * 9 % 256).astype(np.uint8)
    for mode, kind in (("RGB", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("L", "JPEG"), ("RGB", "GIF")):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, kind)
        found.append(stream.getvalue())
    return found


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, size in (("a/b.png", 700), ("a/" + "long" * 40, 20), ("c", 0)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    return stream.getvalue()


def _written() -> tuple[dict[str, bytes], bytes]:
    """Return the files of an adapted model, and a file of scores."""
    experiment = default("sinusoid").changed(["model.hidden=[4]", "tasks.shots=4", "plan.chunk=1"])
    objective = experiment.objective()
    state = mc.initialise(experiment.method, objective, seed=0)
    learner = mc.Learner(experiment.method, objective, state, Origin(experiment, "0" * 64))
    x = torch.linspace(-1, 1, 5)[:, None]
    scores = mc.evaluate(
        experiment.method, objective, state, experiment.tasks, mc.Protocol(tasks=3)
    )
    with tempfile.TemporaryDirectory() as folder:
        learner.predictor(mc.Batch(x, x.sin())).save(Path(folder) / "model")
        scores.write(Path(folder) / "scores.json")
        files = {path.name: path.read_bytes() for path in (Path(folder) / "model").iterdir()}
        return files, (Path(folder) / "scores.json").read_bytes()


TABLE, PICTURES, TAR = _csv(), _pictures(), _tar()
MODEL, SCORES = _written()
CARD = next(name for name in MODEL if name.endswith(".json"))
ARRAYS = {
    "X": np.arange(96, dtype=np.float32).reshape(48, 2),
    "y": np.arange(48) % 3,
    "groups": np.repeat(["a", "b", "c", "d", "e", "f"], 8),
}


def _drawn(tasks: Any) -> None:
    """Take the first tasks, as a training does."""
    found = tasks.settled().episodes("train", 0, range(2))
    for batch in (found.support, found.query):
        assert torch.isfinite(batch.inputs).all()
        assert torch.isfinite(batch.targets.double()).all()


def _table(content: bytes, place: Path) -> None:
    (place / "t.csv").write_bytes(content)
    _drawn(mc.tasks.from_table(place / "t.csv", target="y", group="g", shots=2, queries=2))


def _make_arrays(draw: Random) -> bytes:
    packed = {f"{k}.npy": npy(v) for k, v in ARRAYS.items()}
    if draw.random() < 0.3:
        return changed_bytes(draw, zipped(packed, 0))
    name = draw.choice(list(packed))
    packed[name] = changed_bytes(draw, packed[name])
    return zipped(packed, 0)


def _arrays(content: bytes, place: Path) -> None:
    (place / "a.npz").write_bytes(content)
    _drawn(mc.tasks.Arrays(path=str(place / "a.npz"), shots=2, queries=2))


def _picture(content: bytes, place: Path) -> None:
    found = look(content, "x.png")
    assert found.width > 0 and found.height > 0
    pixels = decode(content, Form(8, "colour"), "x.png")
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8


def _archive(content: bytes, place: Path) -> None:
    (place / "x.tar").write_bytes(content)
    with tars.opened(place / "x.tar") as handle:
        for member in tars.walk(handle, "x.tar", 1 << 20):
            if member.length <= LARGEST:
                assert len(tars.read(handle, member, LARGEST)) == member.length


def _make_tar(draw: Random) -> bytes:
    """Change the file as it is, or a header whose checksum is mended."""
    if draw.random() < 0.4:
        return changed_bytes(draw, TAR)
    at = draw.choice([k for k in range(0, len(TAR), 512) if TAR[k + 257 : k + 262] == b"ustar"])
    header = bytearray(changed_bytes(draw, TAR[at : at + 512])[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return TAR[:at] + bytes(header) + TAR[at + 512 :]


def _make_model(draw: Random) -> dict[str, bytes]:
    name = draw.choice(list(MODEL))
    if name == CARD and draw.random() < 0.8:
        return {**MODEL, CARD: resealed(changed_tree(draw, jsontree.unseal(MODEL[CARD])))}
    return {**MODEL, name: changed_bytes(draw, MODEL[name])}


def _model(files: dict[str, bytes], place: Path) -> None:
    for name, content in files.items():
        (place / name).write_bytes(content)
    found = mc.deploy.load(place)
    answers = found.predict(torch.zeros(2, 1))
    assert len(answers) == 2
    assert not isinstance(answers, torch.Tensor) or torch.isfinite(answers).all()


def _make_scores(draw: Random) -> bytes:
    if draw.random() < 0.3:
        return changed_bytes(draw, SCORES)
    tree = changed_tree(draw, json.loads(SCORES))
    if isinstance(tree, dict) and "sha256" in tree:
        content = {name: value for name, value in tree.items() if name != "sha256"}
        with suppress(ValueError):  # what has no digest is tried with the old one
            tree["sha256"] = jsontree.digest(jsontree.decode(json.dumps(content).encode()))
    return json.dumps(tree).encode()


def _scores(content: bytes, place: Path) -> None:
    (place / "s.json").write_bytes(content)
    found = Scores.read(place / "s.json")
    assert found.losses.shape == (found.protocol.tasks, len(found.at)) or not len(found.losses)


def _bytes_of(*good: bytes) -> Callable[[Random], bytes]:
    return lambda draw: changed_bytes(draw, draw.choice(good))


TARGETS: dict[str, Target] = {
    "table": Target(REFUSALS, _bytes_of(TABLE), _table),
    "arrays": Target(REFUSALS, _make_arrays, _arrays),
    "picture": Target((DataError,), _bytes_of(*PICTURES), _picture),
    "tar": Target((DataError,), _make_tar, _archive),
    "model": Target((CheckpointError, *REFUSALS), _make_model, _model),
    "scores": Target((DataError,), _make_scores, _scores),
}
