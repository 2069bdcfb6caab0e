"""Adapted models: what they answer, and that they come back from their folder to the bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metaccord as mc
from metaccord import fs, jsontree
from metaccord.codings import ArrayCoding
from metaccord.deploy.folder import CARD, WEIGHTS
from metaccord.errors import CheckpointError, DataError, NumericalError, ResourceError, UsageError
from metaccord.methods import cooperative, maml, maml_pp
from tests import cases
from tests.cli.support import flip, snapshot
from tests.deploy.support import blobs, conv, sine, wave, wave_files
from tests.test_learner import NAMES, learner, task


def test_probabilities_are_the_softmax_of_what_the_learner_predicts() -> None:
    found, (support, query) = conv(), blobs()
    made = found.predictor(support)
    expected = found.predict(support, query.inputs).softmax(-1)
    odds = made.predict_proba(query.inputs)
    torch.testing.assert_close(odds, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(odds.sum(-1), torch.ones(len(odds)))
    torch.testing.assert_close(found.predict_proba(support, query.inputs), expected)
    assert made.predict(query.inputs) == tuple(str(i) for i in expected.argmax(-1).tolist())
    assert isinstance(found.adapt(support), mc.models.Conv4)


def test_names_of_classes_are_answered() -> None:
    support, query = blobs()
    made = conv().predictor(support, classes=["cat", "dog", "owl"])
    assert set(made.predict(query.inputs)) <= {"cat", "dog", "owl"}
    assert made.answers(query.inputs).rows()[0].keys() >= {"name", "class", "probabilities"}


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_the_batch_size_plays_no_part(count: int) -> None:
    support, query = blobs()
    made = conv().predictor(support)
    inputs = torch.cat([query.inputs] * 6)[:64]
    whole = made.predict_proba(inputs)
    pieces = [made.predict_proba(piece) for piece in inputs.split(count)]
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-6, atol=1e-6)


def test_fewer_classes_than_the_model_has_are_the_first_outputs() -> None:
    """Adapted with the cut logits alone, as an own two-way criterion would."""
    found, (support, query) = conv(), blobs()
    two = mc.Batch(support.inputs[support.targets < 2], support.targets[support.targets < 2])
    made = found.predictor(two)
    assert made.predict_proba(query.inputs).shape == (len(query.inputs), 2)

    def cut(outputs: Tensor, targets: Tensor) -> Tensor:
        return mc.losses.cross_entropy(outputs[:, :2], targets)

    twin = replace(found, objective=replace(found.objective, criterion=cut))
    expected = twin.predict(two, query.inputs)[:, :2].softmax(-1)
    torch.testing.assert_close(made.predict_proba(query.inputs), expected, rtol=1e-5, atol=1e-6)
    whole = found.predict(two, query.inputs)[:, :2].softmax(-1)
    assert not torch.allclose(whole, expected, atol=1e-4)


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("method", [maml(steps=2), maml_pp(steps=2, horizon=4, epoch=1)])
def test_the_folder_gives_the_same_bits(method: mc.Method, tracked: bool, tmp_path: Path) -> None:
    support, query = blobs()
    made = conv(method, tracked).predictor(support)
    made.save(tmp_path / "model")
    assert sorted(snapshot(tmp_path / "model")) == [CARD, WEIGHTS]
    with pytest.raises(UsageError, match="own model: give load"):
        mc.deploy.load(tmp_path / "model")
    module = mc.models.Conv4(ways=3, hidden=4, size=6, tracked=tracked)
    again = mc.deploy.load(tmp_path / "model", model=module)
    assert again.card == made.card
    assert torch.equal(again.predict_proba(query.inputs), made.predict_proba(query.inputs))
    assert not any(part.training for part in again.module.modules())


@pytest.mark.parametrize("name", [n for n in cases.MODELS if n in NAMES])
def test_own_modules_of_all_kinds_come_back(name: str, tmp_path: Path) -> None:
    """Float64, norms, tied and frozen weights."""
    found, (support, inputs) = learner(name), task(name)
    if cases.MODELS[name].pictures:
        support = mc.Batch(support.inputs, torch.arange(len(support.targets)) % 3)
    made = found.predictor(support)
    made.save(tmp_path / "model")
    again = mc.deploy.load(tmp_path / "model", model=cases.module(name, torch.float32))
    a, b = (one.answers(inputs) for one in (made, again))
    for x, y in ((a.probabilities, b.probabilities), (a.values, b.values)):
        assert (x is None and y is None) or torch.equal(x, y)


def test_a_run_needs_no_module_and_reads_files(tmp_path: Path) -> None:
    support, inputs = wave_files(tmp_path)
    made = sine().predictor(support)
    made.save(tmp_path / "model")
    state = torch.get_rng_state()
    again = mc.deploy.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state), "loading draws from the global generator"
    assert torch.equal(again.predict(inputs), made.predict(wave(7, 1).inputs))
    assert again.answers(inputs).names == tuple(f"row {i}" for i in range(7))
    assert isinstance(again.coding, ArrayCoding)


def test_values_are_in_the_users_units() -> None:
    """Targets standardised by (y - 3) / 2 come back as 2 y + 3."""
    made = sine().predictor(wave())
    coding = ArrayCoding((1,), target_centre=(3.0,), target_scale=(2.0,))
    from metaccord.serial import to_tree

    scaled = made.with_card(coding=to_tree(coding))
    x = wave(4, 2).inputs
    torch.testing.assert_close(scaled.predict(x), 2 * made.predict(x) + 3)


def test_the_card_says_what_it_was_made_of() -> None:
    made = sine().predictor(wave(), steps=2)
    card = made.card
    assert (card.method, card.steps, card.protocol) == ("maml", 2, "frozen")
    assert card.support["examples"] == 5
    assert len(card.support["sha256"]) == 64
    assert card.trained["run"] == "0" * 64
    assert card.trained["tasks"]["class"] == "Sinusoid"
    assert "finn2017model" in card.cite[0]
    assert card.versions["torch"] == torch.__version__
    assert sine().predictor(wave(5, 1)).card.support != card.support


def test_no_tensor_of_the_co_learner_is_in_the_file(tmp_path: Path) -> None:
    found, (support, _) = conv(cooperative(maml(steps=1, lr=0.1))), blobs()
    assert any(name.startswith("interaction.") for name in found.state.params)
    found.predictor(support).save(tmp_path / "model")
    from safetensors import safe_open

    with safe_open(str(tmp_path / "model" / WEIGHTS), "pt") as file:
        names = set(file.keys())
    plain = mc.models.Conv4(ways=3, hidden=4, size=6, tracked=True)
    assert names == set(plain.state_dict())


HARMS: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": lambda p: flip(p / WEIGHTS, 0.9),
    "a bit of the header": lambda p: flip(p / WEIGHTS, 0.01),
    "short weights": lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes()[:-1]),
    "long weights": lambda p: (p / WEIGHTS).write_bytes((p / WEIGHTS).read_bytes() + b"x"),
    "no weights": lambda p: (p / WEIGHTS).unlink(),
    "a bit of the card": lambda p: flip(p / CARD, 0.4),
    "an empty card": lambda p: (p / CARD).write_bytes(b""),
    "a foreign card": lambda p: (p / CARD).write_bytes(jsontree.seal({"format": 2})),
    "a card without fields": lambda p: (p / CARD).write_bytes(jsontree.seal({"format": 1})),
    "a list as card": lambda p: (p / CARD).write_bytes(jsontree.seal([1])),
    "an endless size": lambda p: (p / CARD).write_bytes(
        jsontree.seal({"format": 1, WEIGHTS: {"sha256": "", "size": math.inf}, "card": {}})
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_refused(harm: str, tmp_path: Path) -> None:
    sine().predictor(wave()).save(tmp_path / "model")
    HARMS[harm](tmp_path / "model")
    with pytest.raises(CheckpointError) as caught:
        mc.deploy.load(tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)


def test_every_bit_of_the_folder_counts(tmp_path: Path) -> None:
    sine().predictor(wave()).save(tmp_path / "model")
    for name in (CARD, WEIGHTS):
        for at in (0.0, 0.13, 0.37, 0.61, 0.83, 0.999):
            flip(tmp_path / "model" / name, at)
            with pytest.raises(CheckpointError):
                mc.deploy.load(tmp_path / "model")
            flip(tmp_path / "model" / name, at)
    mc.deploy.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("field", "value"),
    [("coding", {"class": "Nothing"}), ("model", {"class": "MLP9"}), ("temperature", 0.0),
     ("steps", "two"), ("classes", None), ("newer", 1)],
)  # fmt: skip
def test_cards_of_another_version_are_refused(field: str, value: object, tmp_path: Path) -> None:
    sine().predictor(wave()).save(tmp_path / "model")
    tree = jsontree.unseal((tmp_path / "model" / CARD).read_bytes())
    tree["card"][field] = value
    (tmp_path / "model" / CARD).write_bytes(jsontree.seal(tree))
    with pytest.raises(CheckpointError, match="version of metaccord that wrote it"):
        mc.deploy.load(tmp_path / "model")


def test_another_module_is_refused(tmp_path: Path) -> None:
    made = sine().predictor(wave())
    made.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="another module"):
        mc.deploy.load(tmp_path / "model", model=nn.Linear(1, 1))


def test_nothing_is_overwritten_or_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sine().predictor(wave())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("x")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        made.save(tmp_path / "model")
    before = snapshot(tmp_path)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise ResourceError("disk full")

    monkeypatch.setattr(fs, "write", full)
    with pytest.raises(ResourceError):
        made.save(tmp_path / "other")
    with torch.no_grad():
        next(made.module.parameters()).fill_(torch.nan)
    with pytest.raises(NumericalError, match="not finite"):
        made.save(tmp_path / "third")
    assert snapshot(tmp_path) == before


def test_the_present_folder_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"'.' exists: choose another --out"):
        sine().predictor(wave()).save(".")
    assert snapshot(tmp_path) == {}


def test_targets_may_be_named() -> None:
    objective = mc.Objective(mc.models.MLP(), lambda out, t: (out - t["y"]).square().mean())
    state = mc.initialise(maml(1, 0.01), objective)
    support = mc.Batch(torch.ones(5, 1), {"y": torch.ones(5, 1)})
    made = mc.Learner(maml(1, 0.01), objective, state).predictor(support)
    assert made.card.support["examples"] == 5


BAD_SUPPORT: dict[str, tuple[Callable[[mc.Batch], mc.Batch], str]] = {
    "one class": (lambda b: mc.Batch(b.inputs[:3], b.targets[:3]), "one class only"),
    "one example": (lambda b: mc.Batch(b.inputs[:1], b.targets[:1]), "one class only"),
    "another number of channels": (
        lambda b: mc.Batch(torch.cat([b.inputs, b.inputs], 1), b.targets), "float32 [2, 6, 6]"),
    "vectors": (lambda b: mc.Batch(b.inputs.flatten(1), b.targets), "float32 [36]"),
    "another type": (lambda b: mc.Batch(b.inputs.double(), b.targets), "float64 [1, 6, 6]"),
    "too many classes": (lambda b: mc.Batch(b.inputs, torch.arange(len(b.targets))), "at most 3"),
    "labels in two columns": (lambda b: mc.Batch(b.inputs, b.targets[:, None]), "labels [n]"),
    "a different number": (lambda b: mc.Batch(b.inputs, b.targets[:-1]), "one common length"),
    "nothing": (lambda b: mc.Batch(b.inputs[:0], b.targets[:0]), "one common length"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SUPPORT)
def test_support_sets_that_do_not_fit(name: str) -> None:
    change, words = BAD_SUPPORT[name]
    with pytest.raises(DataError) as caught:
        conv().predictor(change(blobs()[0]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_regression_targets_are_not_broadcast() -> None:
    x = wave()
    with pytest.raises(DataError, match=r"shape \[5\], the model's outputs \[5, 1\]"):
        sine().predictor(mc.Batch(x.inputs, x.targets[:, 0]))
    with pytest.raises(DataError, match=r"float32 \[2\]"):
        sine().adapt(mc.Batch(torch.ones(5, 2), x.targets))
    one = sine().predictor(mc.Batch(x.inputs[:1], x.targets[:1]))
    assert one.predict(x.inputs).shape == (5, 1)


def test_inputs_that_do_not_fit() -> None:
    support, query = blobs()
    made = conv().predictor(support)
    with pytest.raises(DataError, match="adapted to float32"):
        made.predict(query.inputs[:, :, :5])
    with pytest.raises(DataError, match="adapted to float32"):
        made.predict(query.inputs.double())
    with pytest.raises(DataError, match="0"):
        made.predict(query.inputs[:0])
    with pytest.raises(UsageError, match="no coding"):
        made.predict("somewhere")
    with pytest.raises(UsageError, match="no coding"):
        conv().predictor("somewhere")
    bad = query.inputs.clone()
    bad[2] = torch.nan
    with pytest.raises(NumericalError, match="'row 2' is not finite"):
        made.predict(bad)


def test_a_regression_has_no_probabilities() -> None:
    made = sine().predictor(wave())
    with pytest.raises(UsageError, match="no probabilities"):
        made.predict_proba(wave().inputs)
    with pytest.raises(UsageError, match="no probabilities"):
        sine().predict_proba(wave(), wave().inputs)


def test_the_card_is_readable_json(tmp_path: Path) -> None:
    conv().predictor(blobs()[0], classes="abc").save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / CARD).read_text())["content"]["card"]["classes"] == [
        "a", "b", "c"
    ]  # fmt: skip
