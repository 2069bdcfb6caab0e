"""Exported programs compute what the library computes, and need nothing of it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import metaccord as mc
from metaccord import tree
from metaccord.deploy.formats import FACTS
from metaccord.errors import UsageError
from metaccord.methods import anil, maml, meta_sgd, reptile
from tests.deploy.support import PLAN, blobs, conv, sine, wave

DOCS = Path(__file__).parents[2] / "docs"
FRESH = """
import json, sys
sys.modules["metaccord"] = None  # whatever asks for it fails
sys.path.insert(0, sys.argv[1])
from service import Service
print(json.dumps(Service(sys.argv[2]).answer(json.load(sys.stdin))))
"""


def learner(
    model: torch.nn.Module, criterion: Callable[..., Tensor], method: mc.Method
) -> mc.Learner:
    objective = mc.Objective(model, criterion, PLAN)
    return mc.Learner(method, objective, mc.initialise(method, objective, seed=0))


def elsewhere(program: Path, support: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
    """Ask the service of the documents in a fresh process that cannot import the library."""
    names = ("support", "targets", "queries")
    request = {k: v.tolist() for k, v in zip(names, (support, targets, queries), strict=True)}
    words = [sys.executable, "-c", FRESH, DOCS, program]
    done = subprocess.run(
        words, input=json.dumps(request), capture_output=True, text=True, check=True, timeout=120
    )
    return torch.tensor(json.loads(done.stdout)["outputs"])


def by_onnx(program: Path, *inputs: Tensor) -> Tensor:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs metaccord[onnx]")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(program, options)
    names = [node.name for node in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


def drawn(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sgc() -> tuple[mc.deploy.Predictor, dict[str, Tensor]]:
    """A graph model whose inputs have names."""
    found = learner(mc.models.SGC(6, 2, hidden=5), mc.losses.cross_entropy, maml(2, 0.5))
    batch = mc.Batch({"features": drawn(8, 6)}, torch.arange(8) % 2)
    return found.predictor(batch, classes=["a", "b"]), {"features": drawn(1000, 6)}


def mlp() -> tuple[mc.deploy.Predictor, Tensor]:
    return sine().predictor(wave()), drawn(1000, 1)


def conv4() -> tuple[mc.deploy.Predictor, Tensor]:
    """With a temperature, as after measuring."""
    made = conv().predictor(blobs()[0]).with_card(temperature=1.7)
    return made, drawn(1000, 1, 6, 6)


CASES: dict[str, Callable[[], tuple[mc.deploy.Predictor, Any]]] = {
    "MLP": mlp,
    "Conv4 with BatchNorm": conv4,
    "SGC": sgc,
}


@pytest.mark.parametrize("to", ["torch", "onnx"])
@pytest.mark.parametrize("name", CASES)
def test_adapted_models_over_a_thousand_inputs(name: str, to: str, tmp_path: Path) -> None:
    made, inputs = CASES[name]()
    path = tmp_path / {"torch": "m.pt2", "onnx": "m.onnx"}[to]
    mc.deploy.export(made, path, to=to)
    leaf = inputs["features"] if isinstance(inputs, dict) else inputs
    if to == "torch":
        program = torch.export.load(path).module()
        run = lambda x: program(x)  # noqa: E731
    else:
        run = lambda x: by_onnx(path, x)  # noqa: E731
    with torch.no_grad():
        expected = made.answering(**inputs) if isinstance(inputs, dict) else made.answering(inputs)
        found = run(leaf)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * max(1.0, scale))
        assert torch.equal(found.argmax(-1), expected.argmax(-1))
        for count in (1, 2, 7, 64):
            torch.testing.assert_close(run(leaf[:count]), found[:count], rtol=1e-6, atol=2e-6)
    if made.classes:
        odds = made.predict_proba(inputs)
        torch.testing.assert_close(found.softmax(-1), odds, rtol=1e-5, atol=1e-6)
    assert facts(path)["card"] == json.loads(json.dumps(made.card.tree()))


def facts(path: Path) -> dict[str, Any]:
    """Return the JSON inside an exported file."""
    if path.suffix == ".onnx":
        onnx = pytest.importorskip("onnx", reason="needs metaccord[onnx]")
        properties = {p.key: p.value for p in onnx.load(path).metadata_props}
        return json.loads(properties[FACTS])
    extra = {FACTS: ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[FACTS])


def regression(method: mc.Method) -> tuple[mc.Learner, mc.Batch, Tensor]:
    found = learner(mc.models.MLP(2, (6,), 1), mc.losses.mse, method)
    x = drawn(7, 2)
    return found, mc.Batch(x, x[:, :1].sin()), drawn(1000, 2, seed=6)


def classes(method: mc.Method) -> tuple[mc.Learner, mc.Batch, Tensor]:
    found = learner(mc.models.MLP(4, (6,), 3), mc.losses.cross_entropy, method)
    return found, mc.Batch(drawn(9, 4), torch.arange(9) % 3), drawn(1000, 4, seed=6)


def rates(found: mc.Learner) -> mc.Learner:
    """Return the learner with learned rates that differ from coordinate to coordinate."""
    moved = {
        k: v * (1 + drawn(*v.shape).abs()) if k.startswith("rule.") else v
        for k, v in found.state.params.items()
    }
    return mc.Learner(found.method, found.objective, found.state._replace(params=moved))


@pytest.mark.parametrize(
    ("method", "kind", "to"),
    [
        pytest.param(maml(1, 0.3), regression, "torch", id="SGD, torch"),
        pytest.param(meta_sgd(1, 0.3), classes, "torch", id="Meta-SGD, torch"),
        pytest.param(meta_sgd(1, 0.3), classes, "onnx", id="Meta-SGD, onnx"),
        pytest.param(anil(1, 0.3), regression, "torch", id="ANIL, torch"),
        pytest.param(anil(1, 0.3), classes, "onnx", id="ANIL, onnx"),
    ],
)
def test_the_adaptation_of_perceptrons(
    method: mc.Method, kind: Callable[..., Any], to: str, tmp_path: Path
) -> None:
    """Other numbers of examples than were traced, another task, 1000 queries."""
    found, support, queries = kind(method)
    found = rates(found)
    path = tmp_path / {"torch": "m.pt2", "onnx": "m.onnx"}[to]
    mc.deploy.export_adaptation(found, support, path, to=to)
    start = found.objective.predict(tree.scope(found.state.params, "model"), queries)
    fewer = mc.Batch(*(leaf[2:7] for leaf in support[:2]))
    for given in (support, fewer):
        expected = found.predict(given, queries)
        assert not torch.allclose(expected, start, atol=1e-3), "nothing was learned"
        inputs = (given.inputs, given.targets, queries)
        if to == "onnx":
            answer = by_onnx(path, *inputs)
        elif found.method.name == "maml" and given is support:
            answer = elsewhere(path, *inputs)
        else:
            answer = torch.export.load(path).module()(*inputs)
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)
    assert facts(path)["support"] is None
    assert facts(path)["kind"] == "adaptation"


def test_the_adaptation_of_conv4(tmp_path: Path) -> None:
    """With BatchNorm; one inner step, for the time it takes to trace."""
    found, (support, _) = conv(maml(steps=1, lr=0.3)), blobs()
    mc.deploy.export_adaptation(found, support, tmp_path / "m.pt2")
    queries = drawn(1000, 1, 6, 6)
    other = mc.Batch(support.inputs[:5], torch.tensor([0, 1, 2, 0, 1]))
    program = torch.export.load(tmp_path / "m.pt2").module()
    for given in (support, other):
        answer = program(given.inputs, given.targets, queries)
        torch.testing.assert_close(answer, found.predict(given, queries), rtol=1e-5, atol=1e-5)


def test_what_onnx_lacks_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs metaccord[onnx]")
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(32, 3))
    found, (support, _) = learner(net, mc.losses.cross_entropy, maml(1, 0.1)), blobs()
    with pytest.raises(UsageError, match="no operator for convolution_backward") as caught:
        mc.deploy.export_adaptation(found, support, tmp_path / "m.onnx", to="onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_mini_batches_fix_the_number_of_examples(tmp_path: Path) -> None:
    found, support, queries = regression(reptile(steps=1, lr=0.05, batch=4, inner="adam"))
    mc.deploy.export_adaptation(found, support, tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2").module()
    answer = program(support.inputs, support.targets, queries)
    torch.testing.assert_close(answer, found.predict(support, queries), rtol=1e-5, atol=1e-5)
    assert facts(tmp_path / "m.pt2")["support"] == 7


def test_onnx_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch 2.13 does for the gradient of cross-entropy, unless it is written out."""
    pytest.importorskip("onnxruntime", reason="needs metaccord[onnx]")
    monkeypatch.setattr("metaccord.deploy.step._nll_backward", lambda *_: NotImplemented)
    found, support, _ = classes(maml(1, 0.3))
    with pytest.raises(UsageError, match="computes other outputs"):
        mc.deploy.export_adaptation(found, support, tmp_path / "m.onnx", to="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("m.pt", "torch", "end in .pt2"),
        ("m.pt2", "onnx", "end in .onnx"),
        ("m.pt2", "tensorflow", "unknown export format 'tensorflow'"),
        ("no/m.pt2", "torch", "no folder"),
        ("taken.pt2", "torch", "exists"),
    ],
)
def test_places_that_are_refused(name: str, to: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "taken.pt2").write_text("mine")
    for call in (
        lambda path: mc.deploy.export(sine().predictor(wave()), path, to=to),
        lambda path: mc.deploy.export_adaptation(sine(), wave(), path, to=to),
    ):
        with pytest.raises(UsageError, match=words):
            call(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.pt2"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[onnx\]'"):
        mc.deploy.export(sine().predictor(wave()), tmp_path / "m.onnx", to="onnx")


def test_the_service_refuses_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    service = importlib.import_module("service").Service
    like = {"dtype": "float32", "shape": [2]}
    assert service.tensor([[1, 2]], like).shape == (1, 2)
    for bad in ([], [[1]], [1, 2]):
        with pytest.raises(ValueError, match="expected"):
            service.tensor(bad, like)


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    found = learner(mc.models.SGC(6, 2, hidden=5), mc.losses.cross_entropy, maml(1, 0.5))
    batch = mc.Batch({"features": drawn(8, 6)}, torch.arange(8) % 2)
    with pytest.raises(UsageError, match="one input and one target"):
        mc.deploy.export_adaptation(found, batch, tmp_path / "m.pt2")
