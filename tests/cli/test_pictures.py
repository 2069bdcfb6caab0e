"""Own pictures on the command line: from a folder to an evaluated run, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metaccord.data.pictures.check import check
from metaccord.data.published.facts import SETS
from metaccord.tasks import folders
from tests.cli.support import Result
from tests.data.pictures.test_decode import animated, claimed
from tests.data.published.layouts import cifar_archive, sealed
from tests.drawn import folder

Run = Callable[..., Result]
SMALL = "--set num_tasks=2 model.hidden=4 plan.chunk=1 tasks.queries=2 tasks.size=12"


@pytest.fixture
def root(place: Path) -> Path:
    folders._opened.cache_clear()
    return folder(place / "birds", 8, 5, side=20)


def test_from_a_folder_to_a_number(metaccord: Run, root: Path) -> None:
    result = metaccord(f"train folders:birds --steps 2 {SMALL}")
    assert result.code == 0, result.err
    run = Path("runs") / "folders-birds-maml-0"
    assert run.is_dir()
    result = metaccord(f"evaluate {run} --tasks 4")
    assert result.code == 0
    assert "accuracy" in result.out
    assert metaccord(f"train folders:birds --steps 3 --resume --out {run}").code == 0


def test_a_run_adapts_and_predicts_without_its_folder(metaccord: Run, root: Path) -> None:
    """New classes from one folder, then one picture and many; a broken one is refused."""
    result = metaccord(f"train folders:birds --steps 2 --out run {SMALL} tasks.ways=2 model.ways=2")
    assert result.code == 0, result.err
    shutil.rmtree(root)
    shutil.rmtree(os.environ["METACCORD_CACHE"])
    folders._opened.cache_clear()
    folder(Path("new"), {"owl": 3, "wren": 2}, side=30, seed=5)
    result = metaccord("adapt run new --out model")
    assert result.code == 0, result.err
    result = metaccord("predict model new/owl/0001.png --json")
    assert result.code == 0, result.err
    (answer,) = json.loads(result.out)["predictions"]
    assert "0001.png" in str(answer)
    assert "owl" in str(answer)
    result = metaccord("predict model new/wren --out answers.csv --picture answers.png")
    assert result.code == 0, result.err
    assert len(Path("answers.csv").read_text().splitlines()) == 3
    assert Path("answers.png").read_bytes().startswith(b"\x89PNG")
    (Path("new") / "owl" / "0001.png").write_bytes(b"x")
    result = metaccord("adapt run new --out other")
    assert result.code == 3
    assert "owl/0001.png is no intact PNG" in result.err
    assert not Path("other").exists()


def test_a_resumed_run_refuses_a_changed_folder(metaccord: Run, root: Path) -> None:
    assert metaccord(f"train folders:birds --steps 1 --out run {SMALL}").code == 0
    shutil.copy(root / "class00" / "0000.png", root / "class00" / "more.png")
    folders._opened.cache_clear()
    result = metaccord("train folders:birds --steps 2 --out run --resume")
    assert result.code == 3
    assert "has changed: its fingerprint is" in result.err


def write(content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / "class01" / "0002.png").write_bytes(content) and None


def one_class(root: Path) -> None:
    for path in sorted(root.iterdir())[1:]:
        shutil.rmtree(path)


def one_example(root: Path) -> None:
    for path in sorted((root / "class03").iterdir())[1:]:
        path.unlink()


def tiny(root: Path) -> None:
    Image.new("L", (1, 1)).save(root / "class02" / "0000.png")


def endless(root: Path) -> None:
    (root / "class02" / "0001.png").unlink()
    (root / "class02" / "0001.png").symlink_to("0001.png")


def copied(root: Path) -> None:
    for path in sorted(root.iterdir())[1:]:
        shutil.copy(root / "class00" / "0000.png", path / "again.png")


def unreadable(root: Path) -> None:
    (root / "class04" / "0000.png").chmod(0)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (shutil.rmtree, "does not exist"),
    "empty": (lambda root: (shutil.rmtree(root), root.mkdir()), "no class folders"),
    "one class": (one_class, "1 class"),
    "one example": (one_example, "class 'class03'"),
    "no picture": (write(b"hello"), "class01/0002.png is no intact PNG or JPEG"),
    "animated": (write(animated()), "class01/0002.png is animated"),
    "huge": (write(claimed(30_000, 30_000)), "class01/0002.png has too many pixels"),
    "one pixel": (tiny, "class02/0000.png has 1x1 pixels"),
    "loop": (endless, "class02/0001.png cannot be read"),
    "case": (lambda root: folder(root, {"CLASS01": 5}, seed=9), "are one name on some machines"),
    "copies": (copied, "identical"),
    "unreadable": (unreadable, "class04/0000.png cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_leave_nothing_behind(name: str, metaccord: Run, root: Path) -> None:
    if name == "unreadable" and os.geteuid() == 0:
        pytest.skip("needs another user than root")
    spoil, words = BAD[name]
    spoil(root)
    result = metaccord(f"train folders:birds --steps 1 --out run {SMALL}")
    assert result.code == 3, result.err
    (error,) = result.errors
    assert words in error
    assert "Traceback" not in result.err
    assert not Path("run").exists()


def test_a_path_is_needed(metaccord: Run) -> None:
    result = metaccord("train folders:")
    assert result.code == 2
    assert "folders: needs a path, such as folders:PATH" in result.err


def test_mixed_modes_are_fine(metaccord: Run, root: Path) -> None:
    for number, mode in enumerate(("L", "RGBA", "1", "P", "I;16")):
        path = root / f"class0{number}" / "0001.png"
        with Image.open(path) as picture:
            found = picture.convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            found = Image.fromarray(np.asarray(found, np.uint16) * 257)
        found.save(path)
    result = metaccord(f"train folders:birds --steps 1 --out run {SMALL}")
    assert result.code == 0, result.err


def test_check_lists_exactly_what_is_wrong(metaccord: Run, place: Path) -> None:
    root = folder(place / "many", 10, 40, side=8)
    rng = np.random.default_rng(0)
    files = sorted(root.rglob("*.png"))
    broken = {str(files[i]) for i in rng.choice(400, 37, replace=False)}
    for path in broken:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
    report = check(root)
    assert {text.split(" ")[1] for text in report.problems} == broken
    assert len(report.problems) == 37
    result = metaccord("data check many")
    assert result.code == 3
    assert len(result.out.splitlines()) == 37
    assert result.errors == ["error: folder many has 37 problems: each is listed above"]
    for path in broken:
        Path(path).unlink()
    result = metaccord("data check many")
    assert result.code == 0
    assert "no problem, 363 pictures in 10 classes" in result.out


def test_data_says_what_is_there_and_what_to_put_where(
    metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = metaccord("data list")
    assert result.code == 0
    for name in ("omniglot", "sign_digits", *SETS):
        assert f"\n{name}: " in f"\n{result.out}"
    assert result.out.count("  not here: ") == 7
    archive = cifar_archive(place / "data" / "cifar100" / "cifar-100-binary.tar.gz")
    for name in ("cifar_fs", "fc100"):
        monkeypatch.setitem(SETS, name, sealed(SETS[name], archive, 600, 6))
    monkeypatch.setenv("METACCORD_DATA", str(place / "data"))
    result = metaccord("data list")
    assert result.out.count(f"here: {archive}") == 2
    result = metaccord("data verify fc100")
    assert result.out == f"fc100: intact, 600 pictures, archive {archive}\n"
    result = metaccord("data verify cub")
    assert result.code == 3
    assert "put into such a folder" in result.err
    result = metaccord("data fetch tiered_imagenet")
    assert result.code == 2
    assert "terms of their own" in result.err
    result = metaccord(f"train cifar_fs --steps 1 --out run {SMALL} tasks.ways=3 model.ways=3")
    assert result.code == 0, result.err
