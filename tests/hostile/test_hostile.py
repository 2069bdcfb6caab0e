"""A hundred hostile files and more: each refused by name, without running or writing anything."""

from __future__ import annotations

import encodings.cp437  # noqa: F401 - names in old archives
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fuzz_stored import FILES, resealed

from metaccord import checkpoint, deploy, jsontree
from metaccord.data import OMNIGLOT, ArraySpec, graphs, omniglot, read_members, read_npz
from metaccord.data.drawings import assemble, read_folders
from metaccord.data.tables import read_table
from metaccord.defaults import default
from metaccord.errors import CheckpointError, DataError, MetaccordError
from metaccord.serial import MODELS, VALUES, fields_of
from metaccord.stored import load_state, versions
from tests.data.conftest import remote
from tests.data.test_archives import SMALL
from tests.data.test_tars import BAD as TARS
from tests.data.test_tars import content as tar_content
from tests.deploy.support import sine, wave
from tests.hostile import files
from tests.hostile.watch import watched

DRAWING = "images_background/Latin/character01/0001_01.png"
STEP = "run/checkpoints/step-000007"
EXPERIMENT = default("sinusoid").tree()
Case = tuple[str, type[Exception], Callable[[Path], object], Callable[[Path], object]]


def _archive(place: Path) -> object:
    named = [remote(file.name, (place / file.name).read_bytes()) for file in OMNIGLOT.files]
    with suppress(DataError):  # whatever it finds first, it must write nothing
        omniglot.load(place, entry=OMNIGLOT._replace(files=tuple(named)))
    return list(read_members((place / named[0].name).read_bytes(), "x.zip", SMALL))


def _lay_archive(data: bytes) -> Callable[[Path], object]:
    return lambda place: [(place / file.name).write_bytes(data) for file in OMNIGLOT.files]


def _npz(place: Path) -> object:
    return read_npz(place / "a.npz", {"bits": ArraySpec((3, 4), "uint8")})


def _graph(place: Path) -> object:
    return graphs.load(str(place / "a.npz"))


def _picture(place: Path) -> object:
    return assemble(read_folders([place / "images_background"]), place)


def _tar(place: Path) -> object:
    return tar_content(place / "x.tar", 1 << 24)


def _table(place: Path) -> object:
    return read_table(place / "t.csv")


def _adapted(place: Path) -> object:
    return deploy.load(place / "model")


def _in_model(name: str, lay: files.Lay) -> Callable[[Path], object]:
    """Replace a file of an adapted model."""

    def make(place: Path) -> None:
        sine().predictor(wave()).save(place / "model")
        (place / "model" / name).unlink()
        lay(place / "model" / name)

    return make


def _checkpoint(place: Path) -> object:
    return checkpoint.verify(place / STEP)


def _run(place: Path) -> object:
    return load_state(place / "run")


def run_of(place: Path, experiment: Any = EXPERIMENT) -> None:
    """Lay a run with one checkpoint, all seals right."""
    (place / STEP).mkdir(parents=True)
    config = {"experiment": experiment, "versions": versions()}
    (place / "run/run.json").write_bytes(resealed(config))
    (place / "run/records.jsonl").write_bytes(b'{"step": 7}\n')
    for name, data in FILES.items():
        (place / STEP / name).write_bytes(data)


def _in_run(name: str, lay: Callable[[Path], object]) -> Callable[[Path], object]:
    def make(place: Path) -> None:
        run_of(place)
        (place / name).unlink()
        lay(place / name)

    return make


def _resealed(name: str, data: bytes) -> Callable[[Path], object]:
    """A forged file whose manifest agrees with it."""

    def make(place: Path) -> None:
        run_of(place)
        manifest = jsontree.unseal(FILES["manifest.json"])
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        manifest["files"][name] = facts
        (place / STEP / name).write_bytes(data)
        (place / STEP / "manifest.json").write_bytes(resealed(manifest))

    return make


def _listing(**changed: Any) -> Callable[[Path], object]:
    """A manifest that lists other files."""

    def make(place: Path) -> None:
        run_of(place)
        manifest = jsontree.unseal(FILES["manifest.json"])
        (place / STEP / "manifest.json").write_bytes(resealed({**manifest, **changed}))

    return make


FACTS = {"sha256": "0" * 64, "size": 10}
MANIFESTS: dict[str, dict[str, Any]] = {
    "files outside": {"files": {"../../../evil": FACTS, "state.json": FACTS}},
    "absolute files": {"files": {"/etc/passwd": FACTS, "state.json": FACTS}},
    "huge size": {"files": {n: FACTS | {"size": 2**62} for n in FILES if n != "manifest.json"}},
    "step outside": {"step": "../../evil"},
    "huge step": {"step": 10**30},
    "other format": {"format": "__import__"},
}


def cases() -> Iterator[Case]:
    """Walk over name, error, how the file is laid and how it is read."""
    for name, data in files.ARCHIVES.items():
        yield f"archive {name}", DataError, _lay_archive(data), _archive
    for name, lay in (files.NPZ | files.ODD).items():
        yield f"npz {name}", DataError, lambda p, lay=lay: lay(p / "a.npz"), _npz
    for name, lay in (files.GRAPHS | files.ODD).items():
        yield f"graph {name}", DataError, lambda p, lay=lay: lay(p / "a.npz"), _graph
    for name, lay in (files.PICTURES | files.ODD).items():

        def drawn(place: Path, lay: files.Lay = lay) -> None:
            (place / DRAWING).parent.mkdir(parents=True)
            lay(place / DRAWING)

        yield f"picture {name}", DataError, drawn, _picture
    for name, data in files.TENSORS.items():
        make = _resealed("tensors.safetensors", data)
        yield f"tensors {name}", CheckpointError, make, _checkpoint
    for name, data in files.JSON.items():
        yield f"state {name}", CheckpointError, _resealed("state.json", data), _checkpoint
        make = _in_run("run/run.json", files.content(data))
        yield f"run.json {name}", CheckpointError, make, _run
    for name, changed in MANIFESTS.items():
        yield f"manifest {name}", CheckpointError, _listing(**changed), _checkpoint
    for name, lay in ({name: lay for name, (lay, _) in TARS.items()} | files.ODD).items():
        yield f"tar {name}", DataError, lambda p, lay=lay: lay(p / "x.tar"), _tar
    for name, lay in files.ODD.items():
        yield f"table {name}", DataError, lambda p, lay=lay: lay(p / "t.csv"), _table
        for file in ("card.json", "model.safetensors"):
            yield f"adapted {file} {name}", CheckpointError, _in_model(file, lay), _adapted
    for name, data in files.TENSORS.items():
        make = _in_model("model.safetensors", files.content(data))
        yield f"adapted tensors {name}", CheckpointError, make, _adapted
    for name, lay in files.ODD.items():
        for file in FILES:
            yield f"{file} {name}", CheckpointError, _in_run(f"{STEP}/{file}", lay), _checkpoint
    for name, lay in files.ODD.items():
        yield f"run.json {name}", CheckpointError, _in_run("run/run.json", lay), _run
    for name, part in files.TREES.items():
        for key in ("method", "tasks", "model"):
            make = lambda p, key=key, part=part: run_of(p, {**EXPERIMENT, key: part})  # noqa: E731
            yield f"{key} {name}", CheckpointError, make, _run


CASES = list(cases())


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what readers import late, before imports count as code that runs."""
    place = tmp_path_factory.mktemp("warm")
    run_of(place)
    for cls in (*VALUES.values(), *MODELS.values()):
        fields_of(cls)  # type hints are texts, which are evaluated once
    checkpoint.verify(place / STEP)
    with pytest.raises(CheckpointError, match="another model"):
        load_state(place / "run")
    with pytest.raises(DataError):
        assemble([(DRAWING, files.png(files.ROWS))], place)
    sine().predictor(wave()).save(place / "model")
    deploy.load(place / "model")
    (place / "t.csv").write_text("a,b\n1,x\n2,y\n")
    read_table(place / "t.csv")
    with pytest.raises(DataError):
        tar_content(place / "t.csv", 1 << 10)


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_hostile_file_is_refused(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, kind, lay, read = case
    place = tmp_path / "place"
    place.mkdir()
    lay(place)
    before = {name: data for name, data in tree_of(tmp_path).items() if "corrupt" not in name}
    monkeypatch.chdir(place)
    monkeypatch.setenv("METACCORD_CACHE", str(tmp_path / "cache"))
    with watched() as watch, pytest.raises(kind) as caught:
        read(place)
    assert watch.ran == []
    assert watch.outside(place) == []
    assert tree_of(tmp_path) == before
    assert isinstance(caught.value, MetaccordError)
    assert "\n" not in str(caught.value)
    if name.startswith("archive"):
        assert any(word in str(caught.value) for word in ("is refused", "is damaged"))


def tree_of(folder: Path) -> dict[str, object]:
    """Return all names with their length, without opening anything."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size if not path.is_dir() else None
        for path in folder.rglob("*")
    }


def test_there_are_a_hundred() -> None:
    assert len({case[0] for case in CASES}) == len(CASES) >= 100


def test_the_watch_would_notice(tmp_path: Path) -> None:
    import pickle
    import subprocess

    with watched() as watch:
        (tmp_path / "evil").write_text("x")
        subprocess.run(["true"], check=True)
        pickle.loads(pickle.dumps(Path))
    assert {event.split()[0] for event in watch.ran} >= {"subprocess.Popen", "pickle.find_class"}
    assert watch.outside(tmp_path / "elsewhere") == [(tmp_path / "evil").resolve()]
    assert watch.outside(tmp_path) == []
    with pytest.raises(MemoryError), watched():
        bytes(1 << 30)
