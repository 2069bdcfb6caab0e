"""What was meta-learned helps, and stays where scikit-learn clones."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.random import RandomState
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import metaccord as mc
from metaccord import tree
from metaccord.errors import DataError
from metaccord.scikit import MetaClassifier, MetaRegressor, data, settings
from metaccord.tasks import Sinusoid, from_arrays
from tests.scikit.families import NAMES, blobs, sine

TASKS, FEW = 20, 10


def test_ten_points_of_a_wave_beat_a_fresh_network(waves: MetaRegressor) -> None:
    """Paired over 20 unseen tasks: the mean difference is far above its standard error."""
    draw, gains = RandomState(1), []
    for _ in range(TASKS):
        x, y = sine(draw, FEW + 200)
        errors = []
        for model in (
            clone(waves),
            MLPRegressor(hidden_layer_sizes=(32, 32), solver="lbfgs", max_iter=500, random_state=0),
        ):
            found = model.fit(x[:FEW], y[:FEW]).predict(x[FEW:])
            errors.append(np.mean((found - y[FEW:]) ** 2))
        gains.append(np.log(errors[1] / errors[0]))
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / np.sqrt(TASKS)
    assert np.mean(gains) > np.log(2)  # half the squared error or less


def test_nine_examples_of_blobs_beat_fresh_classifiers(animals: MetaClassifier) -> None:
    draw = RandomState(1)
    scores = np.array([_scores(animals, *blobs(draw, 209)) for _ in range(TASKS)])  # [tasks, 3]
    for other in (1, 2):
        gain = scores[:, 0] - scores[:, other]
        assert gain.mean() > 0.05
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(TASKS)


def _scores(animals: MetaClassifier, x: Any, y: Any) -> list[float]:
    models = (
        clone(animals),
        MLPClassifier(hidden_layer_sizes=(32,), solver="lbfgs", random_state=0),
        LogisticRegression(),
    )
    return [model.fit(x[:9], y[:9]).score(x[9:], y[9:]) for model in models]


def test_clone_keeps_what_was_learned_and_drops_the_fit(waves: MetaRegressor) -> None:
    x, y = sine(RandomState(2), 30)
    fitted = clone(waves).fit(x, y)
    again = clone(fitted)
    assert again.learned is waves.learned
    assert not hasattr(again, "network_")
    assert np.array_equal(again.fit(x, y).predict(x), fitted.predict(x))
    assert fitted.meta_learned_
    assert not MetaRegressor(hidden=(4,), fresh_steps=1).fit(x, y).meta_learned_


def test_cross_validation_and_grid_search_use_it(waves: MetaRegressor) -> None:
    x, y = sine(RandomState(3), 40)
    folds = cross_val_score(waves, x, y, cv=4)
    x_train, x_test = x[10:], x[:10]
    by_hand = clone(waves).fit(x_train, y[10:]).score(x_test, y[:10])
    assert folds[0] == by_hand
    search = GridSearchCV(waves, {"inner_steps": [0, 3], "inner_lr": [0.1, 0.01]}, cv=2)
    best = search.fit(x, y).best_estimator_
    assert best.learned is waves.learned
    assert best.meta_learned_
    assert best.inner_steps == 3


def test_pipelines_use_it(animals: MetaClassifier) -> None:
    """A step that says the same of each task may stand before; so may one learned once."""
    draw = RandomState(4)
    x, y = blobs(draw, 60)
    alone = clone(animals).fit(x[:9], y[:9])
    piped = make_pipeline(FunctionTransformer(), animals)
    assert clone(piped)[-1].learned is animals.learned
    found = clone(piped).fit(x[:9], y[:9]).predict_proba(x[9:])
    assert np.array_equal(found, alone.predict_proba(x[9:]))
    scaled = make_pipeline(StandardScaler(), clone(animals).set_params(learned=None, steps=20))
    tasks = [(StandardScaler().fit_transform(a), b) for a, b in (blobs(draw, 30) for _ in "123")]
    scaled[-1].meta_fit(tasks)
    search = GridSearchCV(scaled, {"metaclassifier__inner_steps": [1, 3]}, cv=3)
    assert search.fit(x, y).best_estimator_[-1].meta_learned_
    assert cross_val_score(scaled, x, y, cv=3).min() > 0


def test_copies_by_pickle_predict_the_same(animals: MetaClassifier) -> None:
    x, y = blobs(RandomState(5), 60)
    fitted = clone(animals).fit(x, y)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert np.array_equal(clone(again).fit(x, y).predict_proba(x), fitted.predict_proba(x))


def test_meta_fit_leaves_the_fit_alone_and_repeats_to_the_bit() -> None:
    draw = RandomState(6)
    tasks = [sine(draw, 20 + k) for k in range(5)]
    one = MetaRegressor(hidden=(8,), steps=5, fresh_steps=2)
    before = set(vars(one))
    found = [one.meta_fit(tasks).learned for _ in range(2)]
    assert set(vars(one)) == before
    assert np.array_equal(found[0].losses, found[1].losses)
    other = MetaRegressor(hidden=(8,), steps=5, random_state=1).meta_fit(tasks).learned
    assert not np.array_equal(found[0].losses, other.losses)


@pytest.mark.parametrize("method", sorted(mc.methods.BASES))
def test_every_method_meta_fits_and_fits(method: str) -> None:
    draw = RandomState(7)
    x, y = sine(draw, 12)
    model = MetaRegressor(method, hidden=(8,), steps=3, tasks_per_step=2, inner_steps=2)
    model.meta_fit([sine(draw, 12) for _ in range(3)]).fit(x, y)
    assert np.isfinite(model.predict(x)).all()
    assert model.learned.method.name == method


@pytest.mark.parametrize("interaction", ["agreement", "sharing", "cooperative", "coherent"])
def test_every_interaction_meta_fits_and_fits(interaction: str) -> None:
    draw = RandomState(8)
    x, y = blobs(draw, 12)
    model = MetaClassifier(interactions=(interaction,), hidden=(8,), steps=3, tasks_per_step=2)
    model.meta_fit([blobs(draw, 12) for _ in range(3)]).fit(x, y)
    assert np.isfinite(model.predict_proba(x)).all()


def test_a_source_of_tasks_is_taken_as_well() -> None:
    x, y = sine(RandomState(9), 10)
    model = MetaRegressor(hidden=(8,), steps=3, tasks_per_step=2).meta_fit(Sinusoid(shots=5))
    assert model.learned.tasks == 0
    assert model.fit(x, y).predict(x).shape == (10,)


def test_a_source_that_scales_is_met_in_raw_numbers() -> None:
    """``from_arrays`` standardises: ``fit`` gets the user's numbers and does the same to them."""
    draw = RandomState(14)
    x, group = 1000 + 50 * draw.normal(size=(240, 2)), np.repeat(np.arange(12), 20)
    y = 7000 + 3 * x[:, 0]
    source = from_arrays(x, y, groups=group, shots=5, queries=5)
    model = MetaRegressor(hidden=(8,), steps=4, tasks_per_step=2, inner_steps=0)
    model.meta_fit(source).fit(x[:20], y[:20])
    objective = settings.objective_of(model.learned.model, classifies=False, seed=0, device="cpu")
    episode = source.episodes("train", 0, range(1)).support
    raw = source.coding.values(episode.targets[0]).double().numpy()[:, 0]
    rows = [int(np.abs(y - value).argmin()) for value in raw]
    foreign = data.regression(source, scaled=True, shots=1, queries=1, seed=0)
    coded = foreign.source.episodes("train", 0, range(1)).support
    assert np.allclose(model.inputs_.apply(x[rows]), coded.inputs[0].numpy(), atol=1e-5)
    assert np.allclose(
        model.targets_.apply(y[rows][:, None]), coded.targets["value"][0].numpy(), atol=1e-5
    )
    outputs = objective.predict(tree.scope(model.learned.state.params, "model"), coded.inputs[0])
    expected = model.targets_.undo(outputs.detach().numpy())[:, 0]
    assert np.allclose(model.predict(x[rows]), expected, rtol=1e-5)
    assert 6000 < model.predict(x).mean() < 14000


def test_shared_classes_of_a_source_are_known_by_name() -> None:
    draw = RandomState(15)
    parts = [blobs(draw, 30) for _ in range(12)]
    x, group = np.concatenate([x for x, _ in parts]), np.repeat(np.arange(12), 30)
    for names in (np.concatenate([y for _, y in parts]), np.tile(np.arange(3), 120)):
        source = from_arrays(x, names, groups=group, aim="classes", shots=3, queries=3)
        model = MetaClassifier(hidden=(8,), steps=2, tasks_per_step=2, inner_steps=0)
        model.meta_fit(source)
        every = model.fit(x[:30], names[:30])
        logits = every.predict_proba(x[:30])[:, 1:]
        two = names[:30] != every.classes_[0]
        model.fit(x[:30][two], names[:30][two])
        expected = logits / logits.sum(1, keepdims=True)
        assert np.allclose(model.predict_proba(x[:30]), expected, atol=1e-12)
        with pytest.raises(DataError, match="which no task of meta_fit had"):
            model.fit(x[:2], ["wolf", "ant"])


def test_shared_classes_keep_their_outputs(animals: MetaClassifier) -> None:
    """A task that lacks the first class must not shift the others."""
    assert list(animals.learned.classes) == list(NAMES[:3])
    x, y = blobs(RandomState(10), 60)
    two = y != NAMES[0]
    model = clone(animals).set_params(inner_steps=0).fit(x[two], y[two])
    every = clone(animals).set_params(inner_steps=0).fit(x, y)
    logits = every.predict_proba(x)[:, 1:]
    assert list(model.classes_) == list(NAMES[1:3])
    assert np.allclose(model.predict_proba(x), logits / logits.sum(1, keepdims=True), atol=1e-12)


def test_own_classes_are_permuted_and_named_as_the_user_does() -> None:
    draw = RandomState(11)
    tasks = [blobs(draw, 30, ways) for ways in (2, 3, 5)]
    tasks = [(x, np.char.add(f"task {i} ", y)) for i, (x, y) in enumerate(tasks)]
    model = MetaClassifier(hidden=(8,), steps=5, tasks_per_step=3).meta_fit(tasks)
    assert model.learned.classes is None
    assert model.learned.model["outputs"] == 5
    for y in (np.arange(30) % 4, np.where(np.arange(30) % 2, "yes", "no"), np.arange(30) % 2 == 0):
        found = model.fit(tasks[0][0], y).predict(tasks[0][0])
        assert set(found.tolist()) <= set(y.tolist())
        assert model.predict_proba(tasks[0][0]).shape == (30, len(np.unique(y)))


def test_float32_and_float64_give_the_same(waves: MetaRegressor) -> None:
    x, y = sine(RandomState(12), 20)
    x, y = x.astype(np.float32), y.astype(np.float32)
    single = clone(waves).fit(x, y).predict(x)
    double = clone(waves).fit(x.astype(np.float64), y.astype(np.float64)).predict(x)
    assert single.dtype == np.float64
    assert np.array_equal(single, double)


def test_random_states(waves: MetaRegressor) -> None:
    x, y = sine(RandomState(13), 10)

    def found(state: Any) -> Any:
        return MetaRegressor(hidden=(8,), fresh_steps=2, random_state=state).fit(x, y).predict(x)

    assert np.array_equal(found(3), found(np.int64(3)))
    assert np.array_equal(found(RandomState(3)), found(RandomState(3)))
    assert not np.array_equal(found(3), found(4))
    assert not np.array_equal(found(None), found(None))
