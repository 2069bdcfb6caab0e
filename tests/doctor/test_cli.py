"""``metaccord doctor`` as its users call it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaccord.cli import main as entry
from metaccord.cli.doctor import doctor
from metaccord.doctor import KINDS
from tests.cli.support import Result, call

HEAD = """
import torch
from torch import nn
import metaccord as mc

class Net(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.cut, self.body, self.head = cut, nn.Linear(1, 8), nn.Linear(8, 1)

    def forward(self, x):
        y = torch.tanh(self.body(x))
        return self.head(y.detach() * y if self.cut else y)

tasks = mc.tasks.Sinusoid(inputs="uniform")
"""
SETUPS = """
def good():
    torch.manual_seed(0)
    return Net(), mc.losses.mse, tasks

def named():
    torch.manual_seed(0)
    return {"model": Net(), "criterion": mc.losses.mse, "tasks": tasks,
            "method": mc.methods.maml(2, 0.02)}

def cut():
    torch.manual_seed(0)
    return Net(cut=True), mc.losses.mse, tasks

def overlap():
    episode = tasks.episodes("train", 0, range(4))
    mixed = torch.cat([episode.support.inputs[:, :3], episode.query.inputs], 1)
    values = torch.cat([episode.support.targets[:, :3], episode.query.targets], 1)
    torch.manual_seed(0)
    return Net(), mc.losses.mse, episode._replace(query=mc.Batch(mixed, values))

def nothing():
    return None

def wrong():
    return Net(), mc.losses.mse, [1, 2, 3]

def raising():
    raise KeyError("of the user")

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user's module in the working folder."""
    name = "users_own_setup"
    (tmp_path / f"{name}.py").write_text(HEAD + SETUPS)
    (tmp_path / "users_broken.py").write_text("import no_such_package_of_the_user\n")
    (tmp_path / "users_typo.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    if doctor not in entry.VERBS:
        monkeypatch.setattr(entry, "VERBS", (*entry.VERBS, doctor))
    before = list(sys.path)
    yield name
    assert sys.path == before
    for loaded in (name, "users_broken", "users_typo"):
        sys.modules.pop(loaded, None)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Result:
    return call(capsys, "doctor", *words)


@pytest.mark.parametrize("setup", ["good", "named"])
def test_a_sound_setup(module: str, setup: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, f"{module}:{setup}")
    assert found.code == 0, found
    assert "certificate passed" in found.out
    assert found.out.splitlines()[-1] == "healthy"


@pytest.mark.parametrize(
    ("setup", "code", "named"), [("cut", 5, "cut_gradient"), ("overlap", 3, "overlap")]
)
def test_exit_codes(
    module: str, setup: str, code: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, f"{module}:{setup}")
    assert found.code == code, found
    assert named in found.out
    assert KINDS[named].remedy in found.out
    assert found.out.splitlines()[-1] == "not healthy"


def test_json(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, f"{module}:cut", "--json")
    tree = json.loads(found.out)
    assert found.code == tree["exit_code"] == 5
    assert not tree["healthy"]
    assert not tree["certificate"]["passed"]
    assert "cut_gradient" in {finding["code"] for finding in tree["findings"]}
    assert set(tree["findings"][0]) == {"code", "level", "message", "remedy"}


def test_options_change_the_method(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, f"{module}:good", "--set", "rule.lr=1e-9")
    assert found.code == 2
    assert "no_gain" in found.out
    found = run(capsys, f"{module}:good", "--method", "reptile", "--with", "agreement")
    assert "reptile: its own definition" in found.out
    found = run(capsys, f"{module}:good", "--steps", "3", "--with", "sharing",
                "--set", "sharing.momentum=0.5")  # fmt: skip
    assert found.code == 0
    assert "without its interactions" in found.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nomodule",), "is not MODULE:FACTORY"),
        ((":f",), "is not MODULE:FACTORY"),
        (("no_such_module_here:f",), "there is no module 'no_such_module_here'"),
        (("{}:goood",), "did you mean 'good'"),
        (("{}:number",), "unknown function"),
        (("{}:nothing",), "expected model, criterion, tasks"),
        (("{}:wrong",), "returned list as tasks"),
        (("{}:good", "--method", "mamll"), "did you mean 'maml'"),
        (("{}:good", "--with", "shering"), "did you mean 'sharing'"),
        (("{}:good", "--set", "rule.lrr=1"), "did you mean 'lr'"),
        (("{}:good", "--set", "nothing.lr=1"), "unknown setting"),
        (("{}:good", "--set", "rule.lr=-1"), "rule.lr is -1"),
        (("{}:good", "--steps", "-1"), "--steps is -1"),
    ],
)
def test_bad_arguments(
    module: str, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, *(word.format(module) for word in words))
    assert found.code == 2, found
    assert len(found.errors) == 1
    assert message in found.errors[0]


def test_errors_of_the_users_code_keep_their_traceback(module: str) -> None:
    for place, kind in (
        (f"{module}:raising", KeyError),
        ("users_broken:f", ModuleNotFoundError),
        ("users_typo:f", ZeroDivisionError),
    ):
        with pytest.raises(kind):
            entry.main(["doctor", place])
