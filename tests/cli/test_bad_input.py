"""Bad words on the command line: one line that names the remedy, the right code, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metaccord.cli.main import VERBS
from tests.cli.support import MOST_SECONDS, Result, snapshot

Run = Callable[..., Result]
SINUSOID = "train sinusoid --set "
QUADRATICS = "train quadratics --set "
OMNIGLOT = "train omniglot --set "
TYRO = {  # the parser's own messages, in its box
    "": ["train"],
    "trian sinusoid": ["train"],
    "train": ["sinusoid, quadratics, omniglot"],
    "train sinusoid --methd maml": ["--methd", "--method"],
    "train sinusoid --steps x": ["--steps", "INT"],
    "train sinusoid --steps 1.5": ["--steps", "INT"],
    "train sinusoid --seed": ["--seed"],
    "train sinusoid quadratics": ["quadratics"],
    "evaluate": ["Folder of the run"],
    "plot": ["Folder of the run"],
    "cite": ["reptile+agreement"],
    "compare sinusoid --methods": ["--methods"],
    "data": ["list", "fetch", "verify"],
    "data fetsh": ["fetsh", "fetch"],
}
OURS: dict[str, tuple[int, list[str]]] = {
    # names, each with the nearest one
    "train sinusoidd": (2, ["unknown tasks 'sinusoidd'", "did you mean 'sinusoid'?"]),
    "train folder:x": (2, ["unknown tasks 'folder:x'", "did you mean 'folders:PATH'?"]),
    "train folders:x": (3, ["x does not exist", "give a folder of class folders"]),
    "train graph:": (2, ["graph: needs the name of a graph", "graph:coauthor_cs"]),
    "train graph:x:gcm": (2, ["unknown graph model 'gcm': did you mean"]),
    "train sinusoid --method mamml": (2, ["unknown method 'mamml'", "did you mean 'maml'?"]),
    "train sinusoid --method maml+agreement": (2, ["--method maml --with agreement"]),
    "train sinusoid --with agreemnt": (2, ["unknown interaction", "did you mean 'agreement'?"]),
    "train sinusoid --method reptile --with sharing": (
        2,
        ["sharing has no meaning over reptile", "put it over maml()"],
    ),
    "train sinusoid --method finetune --with agreement": (2, ["no inner loop", "maml()"]),
    "train quadratics --method anil": (2, ["selects 'head'", "no such part"]),
    "train quadratics --with cooperative": (2, ["cooperative.shape"]),
    "train sinusoid --with cooperative --set cooperative.outputs=3": (
        2,
        ["cooperative.outputs is 3, but the model's head gives 1"],
    ),
    "train sinusoid --with sharing --set sharing.mode=concave": (
        2,
        ["mode 'concave': did you mean 'convex'?"],
    ),
    "train sinusoid --with agreement,agreement": (2, ["'agreement' occurs twice"]),
    "train sinusoid --device tpu": (2, ["unknown device 'tpu'"]),
    SINUSOID + "rule.lrr=1": (2, ["rule.lrr", "did you mean 'lr'?"]),
    SINUSOID + "rul.lr=1": (2, ["rul.lr", "did you mean 'rule'?"]),
    SINUSOID + "lr=1": (2, ["unknown setting 'lr'"]),
    SINUSOID + "stepss=1": (2, ["did you mean 'steps'?"]),
    SINUSOID + "a.b.c.d=3": (2, ["a.b.c.d", "choose from"]),
    SINUSOID + "rule.lr.x=3": (2, ["rule.lr.x"]),
    SINUSOID + "rule..lr=3": (2, ["rule..lr"]),
    SINUSOID + "agreement.x=3": (2, ["agreement.x"]),
    SINUSOID + "tasks.ways=5": (2, ["tasks.ways", "shots"]),
    SINUSOID + "model.widths=[4]": (2, ["model.widths"]),
    SINUSOID + "model.class=MPL": (2, ["unknown model 'MPL'", "did you mean 'MLP'?"]),
    SINUSOID + "rule.class=SDG": (2, ["'SDG'", "did you mean 'SGD'?"]),
    SINUSOID + "outer.optimizer=adm": (2, ["did you mean 'adam'?"]),
    SINUSOID + "outer.schedule=linaer": (2, ["did you mean 'linear'?"]),
    SINUSOID + "tasks.inputs=gird": (2, ["did you mean 'grid'?"]),
    SINUSOID + "model.activation=rleu": (2, ["did you mean 'relu'?"]),
    SINUSOID + "method.name=mine": (2, ["method.name", "--method"]),
    # forms and types
    SINUSOID + "steps": (2, ["--set 'steps'", "name=value"]),
    SINUSOID + "=3": (2, ["name=value"]),
    SINUSOID + "rule.lr=abc": (2, ["rule.lr is 'abc'", "expected a number"]),
    SINUSOID + "rule.lr=true": (2, ["rule.lr is True", "expected a number"]),
    SINUSOID + "rule.lr=null": (2, ["rule.lr is None", "expected a number"]),
    SINUSOID + "rule.lr=[0.1]": (2, ["rule.lr is (0.1,)", "expected a number"]),
    SINUSOID + "rule.lr=1" + 400 * "0": (2, ["rule.lr", "must be finite"]),
    SINUSOID + "rule.lr=" + 5000 * "1": (2, ["rule.lr", "expected a number"]),
    SINUSOID + "rule.lr=" + 5000 * "[": (2, ["rule.lr", "expected a number"]),
    SINUSOID + "rule.steps=1.5": (2, ["rule.steps is 1.5", "a whole number"]),
    SINUSOID + "steps=1e3": (2, ["steps is 1000.0", "a whole number"]),
    SINUSOID + "seed=abc": (2, ["seed is 'abc'", "a whole number"]),
    SINUSOID + "device=5": (2, ["unknown device '5'", "choose from cpu, cuda"]),
    SINUSOID + "rule=3": (2, ["unknown setting 'rule'"]),
    SINUSOID + "method.rule=3": (2, ["method.rule is 3", "expected InnerRule"]),
    SINUSOID + '\'method.rule={"class":"SGD"}\'': (2, ["method.rule is incomplete", "steps"]),
    SINUSOID + "'method.rule={\"class\":[1]}'": (2, ["[1]", "unknown class"]),
    SINUSOID + "tasks=3": (2, ["tasks is 3", "expected TaskSource"]),
    SINUSOID + "model=3": (2, ["model is 3"]),
    SINUSOID + "model={}": (2, ["model is {}"]),
    SINUSOID + "method.interactions=3": (2, ["expected a list"]),
    SINUSOID + "rule.only=head": (2, ["expected a list such as"]),
    SINUSOID + "model.hidden=4": (2, ["expected a list such as [64, 64]"]),
    SINUSOID + "'model.hidden=[\"a\"]'": (2, ["model.hidden", "a whole number"]),
    SINUSOID + "tasks.amplitude=[5]": (2, ["tasks.amplitude", "a list of 2"]),
    SINUSOID + "plan.compile=maybe": (2, ["plan.compile", "true or false"]),
    # ranges
    SINUSOID + "rule.lr=0": (2, ["rule.lr is 0.0", "above 0"]),
    SINUSOID + "rule.lr=-1": (2, ["rule.lr is -1.0", "above 0"]),
    SINUSOID + "rule.lr=nan": (2, ["rule.lr is nan", "must be finite"]),
    SINUSOID + "rule.lr=NaN": (2, ["rule.lr is nan", "must be finite"]),
    SINUSOID + "rule.lr=inf": (2, ["rule.lr is inf", "must be finite"]),
    SINUSOID + "rule.lr=-Infinity": (2, ["rule.lr is -inf", "must be finite"]),
    SINUSOID + "outer.lr=0": (2, ["outer.lr is 0.0", "above 0"]),
    SINUSOID + "outer.lr=-1": (2, ["outer.lr is -1.0", "above 0"]),
    SINUSOID + "outer.lr=nan": (2, ["outer.lr is nan", "must be finite"]),
    SINUSOID + "rule.lr=1e39": (2, ["rule.lr is 1e+39", "at most 1e30"]),
    SINUSOID + "outer.clip_value=1e39": (2, ["outer.clip_value is 1e+39"]),
    SINUSOID + "outer.lr=inf": (2, ["outer.lr is inf", "must be finite"]),
    SINUSOID + "outer.momentum=1": (2, ["outer.momentum is 1.0", "[0, 1)"]),
    SINUSOID + "outer.horizon=0": (2, ["outer.horizon is 0", "above 0"]),
    SINUSOID + "outer.clip_norm=-1": (2, ["outer.clip_norm is -1.0", "above 0"]),
    SINUSOID + "outer.clip_value=nan": (2, ["outer.clip_value is nan"]),
    SINUSOID + "rule.class=Adam rule.beta1=1": (2, ["rule.beta1 is 1.0", "[0, 1)"]),
    SINUSOID + "rule.steps=-1": (2, ["rule.steps is -1", "0 or more"]),
    SINUSOID + "rule.batch=0": (2, ["rule.batch is 0"]),
    SINUSOID + "'rule.only=[\"tail\"]'": (2, ["selects 'tail'", "body.0, body.2, head"]),
    "train sinusoid --steps 0": (2, ["steps is 0", "at least 1"]),
    "train sinusoid --steps -3": (2, ["steps is -3", "at least 1"]),
    "train sinusoid --seed -1": (2, ["seed is -1", "between 0"]),
    "train sinusoid --seed 99999999999999999999": (2, ["seed is 9999", "2**63"]),
    SINUSOID + "num_tasks=0": (2, ["num_tasks is 0", "at least 1"]),
    SINUSOID + "checkpoint_every=0": (2, ["checkpoint_every is 0", "at least 1"]),
    SINUSOID + "validate_every=-1": (2, ["validate_every"]),
    SINUSOID + "validation_tasks=1": (2, ["validation_tasks", "at least 2"]),
    SINUSOID + "tasks.shots=0": (2, ["tasks.shots is 0", "at least 1"]),
    SINUSOID + "tasks.train_shots=0": (2, ["tasks.train_shots is 0"]),
    SINUSOID + "tasks.shots=51": (2, ["tasks.shots is 51", "50 points"]),
    SINUSOID + "tasks.amplitude=[5,1]": (2, ["tasks.amplitude", "(low, high)"]),
    SINUSOID + "tasks.phase=0": (2, ["tasks.phase"]),
    SINUSOID + "tasks.phase=inf": (2, ["tasks.phase is inf", "must be finite"]),
    SINUSOID + "model.hidden=[0]": (2, ["model.hidden is", "at least 1"]),
    SINUSOID + "model.hidden=[-1]": (2, ["model.hidden is", "at least 1"]),
    SINUSOID + "model.inputs=0": (2, ["model.inputs is 0", "at least 1"]),
    SINUSOID + "plan.chunk=0": (2, ["plan.chunk is 0"]),
    SINUSOID + "plan.chunk=half": (2, ["plan.chunk is 'half'", "auto, all"]),
    SINUSOID + "plan.memory=much": (2, ["plan.memory is 'much'", "4GiB"]),
    SINUSOID + "plan.compile=true plan.checkpoint=true": (2, ["exclude each other"]),
    QUADRATICS + "tasks.dim=0": (2, ["tasks.dim"]),
    QUADRATICS + "tasks.condition=nan": (2, ["tasks.condition is nan", "must be finite"]),
    QUADRATICS + "tasks.spread=0": (2, ["tasks.spread"]),
    QUADRATICS + "tasks.shots=2": (2, ["tasks.shots", "must be 1"]),
    # models that do not fit their tasks
    SINUSOID + "model.outputs=2": (2, ["outputs (10, 2)", "targets (10, 1)"]),
    SINUSOID + "model.inputs=3": (2, ["the model fails on inputs of shape (10, 1)"]),
    QUADRATICS + "tasks.dim=3": (2, ["the model fails on inputs"]),
    SINUSOID + "model.class=Conv4": (2, ["model.hidden"]),
    # folders
    "train sinusoid --resume": (2, ["--resume needs --out"]),
    "train sinusoid --resume --out nowhere": (2, ["'nowhere' holds no run"]),
    "train sinusoid --out file": (2, ["'file' cannot be a folder", "another --out"]),
    "train sinusoid --out file/in": (2, ["'file/in' cannot be a folder", "another --out"]),
    "train sinusoid --out foreign": (2, ["'foreign' is no run and not empty", "'note'"]),
    "train sinusoid --out .": (2, ["is no run and not empty"]),
    "evaluate nowhere": (2, ["'nowhere' holds no run"]),
    "evaluate foreign": (2, ["'foreign' holds no run"]),
    "evaluate file": (2, ["'file' holds no run"]),
    "evaluate nowhere --protocol frozn": (2, ["unknown protocol", "did you mean 'frozen'?"]),
    "evaluate nowhere --tasks 1": (2, ["tasks is 1", "at least 2"]),
    "evaluate nowhere --tasks 0": (2, ["tasks is 0", "at least 2"]),
    "evaluate nowhere --permutations 0": (2, ["permutations is 0", "1 .. 10000"]),
    "evaluate nowhere --permutations 20000": (2, ["permutations is 20000", "1 .. 10000"]),
    "evaluate nowhere --steps -1": (2, ["steps is -1", "it must be in 0"]),
    "plot nowhere": (2, ["'nowhere' holds no run"]),
    "cite nowhere": (2, ["unknown method 'nowhere'", "folder of a run"]),
    "cite reptile+agreemnt": (2, ["did you mean 'agreement'?"]),
    # several methods
    "compare": (2, ["compare needs a family of tasks", "folders of runs"]),
    "compare nowhere": (2, ["unknown tasks 'nowhere'"]),
    "compare sinusoid --across-protocols": (2, ["--across-protocols is for finished runs"]),
    "compare nowhere nowhere": (2, ["'nowhere' is given twice"]),
    "compare nowhere elsewhere --steps 5": (2, ["--steps is for a training", "leave it out"]),
    "compare nowhere elsewhere --seeds 2": (2, ["--seeds is for a training"]),
    "compare nowhere elsewhere --methods maml": (2, ["--methods is for a training"]),
    "compare nowhere elsewhere --out here": (2, ["--out is for a training"]),
    "compare nowhere elsewhere --set rule.lr=1": (2, ["--set is for a training"]),
    "compare file nowhere": (2, ["'nowhere' holds no run"]),
    "compare file nowhere --tasks 5": (2, ["file says how it was measured"]),
    "compare nowhere elsewhere": (2, ["'nowhere' holds no run"]),
    "compare sinusoid --seeds 0": (2, ["--seeds is 0", "at least 1"]),
    "compare sinusoid --seeds -2": (2, ["--seeds is -2", "at least 1"]),
    "compare sinusoid --methods maml,mamml": (2, ["unknown method 'mamml'"]),
    "compare sinusoid --methods maml,": (2, ["unknown method ''"]),
    "compare sinusoid --methods maml+sharin": (2, ["unknown interaction 'sharin'"]),
    "compare sinusoid --protocol indctive": (2, ["did you mean 'inductive'?"]),
    "compare sinusoid --tasks 1": (2, ["tasks is 1"]),
    "compare sinusoid --steps 0": (2, ["steps is 0"]),
    "compare sinusoid --set rule.lr=0": (2, ["rule.lr is 0.0"]),
    "demo --seeds 0": (2, ["--seeds is 0"]),
    "demo --set rule.lr=0": (2, ["rule.lr is 0.0"]),
    # data
    "data fetch": (2, ["needs the name of a data set"]),
    "data verify omnigot": (2, ["unknown data set", "did you mean 'omniglot'?"]),
    "data verify omniglot --path nowhere": (3, ["not found in nowhere"]),
    "data verify omniglot": (3, ["data fetch omniglot", "METACCORD_DATA"]),
    "train omniglot": (3, ["data fetch omniglot", "METACCORD_DATA", "without a network", "MD5"]),
    "compare omniglot": (3, ["data fetch omniglot", "METACCORD_DATA"]),
}
WITH_DATA: dict[str, list[str]] = {
    OMNIGLOT + "tasks.ways=101": ["tasks.ways is 101", "validation split has 100 classes"],
    OMNIGLOT + "tasks.ways=1": ["tasks.ways is 1", "at least 2"],
    OMNIGLOT + "tasks.shots=16": ["20 drawings", "tasks.queries is 21", "lower one"],
    OMNIGLOT + "tasks.train_shots=16": ["20 drawings", "lower one"],
    OMNIGLOT + "tasks.partition=vinials": ["did you mean 'vinyals'?"],
    OMNIGLOT + "tasks.rotations=draws": ["did you mean 'draw'?"],
    OMNIGLOT + "tasks.ways=7": ["the model gives 5 classes but a label is 6", "model.ways=7"],
    OMNIGLOT + "model.channels=3": ["the model fails on inputs"],
}  # fmt: skip


def refused(result: Result, code: int, words: list[str]) -> None:
    """Assert one line that begins with ``error: ``, its words, soon, and only notes beside it."""
    assert result.code == code, result
    assert len(result.errors) == 1, result.err
    missing = [word for word in words if word not in result.errors[0]]
    assert not missing, result.errors
    assert all(line.startswith(("error: ", "note: ")) for line in result.err.splitlines())
    assert result.out == ""
    assert result.seconds < MOST_SECONDS


@pytest.fixture
def furnished(place: Path) -> Path:
    """A working folder with a file and a folder that are none of ours."""
    (place / "file").write_text("mine")
    (place / "foreign").mkdir()
    (place / "foreign" / "note").write_text("mine, too")
    return place


@pytest.mark.parametrize("words", OURS)
def test_one_line_the_code_and_nothing_left(words: str, metaccord: Run, furnished: Path) -> None:
    before = snapshot(furnished)
    refused(metaccord(words), *OURS[words])
    assert snapshot(furnished) == before


@pytest.mark.parametrize("words", TYRO)
def test_the_parsers_own_messages(words: str, metaccord: Run, place: Path) -> None:
    result = metaccord(words)
    assert result.code == 2
    assert result.seconds < MOST_SECONDS
    assert "Traceback" not in result.err
    assert [word for word in TYRO[words] if word not in result.err] == []
    assert snapshot(place) == {}


@pytest.mark.parametrize("words", WITH_DATA)
def test_too_much_for_the_classes(words: str, metaccord: Run, place: Path, data_root: Path) -> None:
    refused(metaccord(words), 2, WITH_DATA[words])
    assert snapshot(place) == {}


def test_no_cuda(metaccord: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        refused(metaccord(f"train sinusoid --device {device}"), 2, [f"--device {device}", "cpu"])
    assert snapshot(place) == {}


def test_every_flag_has_a_help_text(metaccord: Run) -> None:
    for verb in VERBS:
        result = metaccord(f"{verb.__name__} --help")
        assert result.code == 0
        assert verb.__doc__.splitlines()[0] in result.out
