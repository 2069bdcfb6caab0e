"""Estimators that were meta-fitted once; ``clone`` gives each test its own."""

from __future__ import annotations

import pytest
from numpy.random import RandomState

from metaccord.scikit import MetaClassifier, MetaRegressor
from tests.scikit.families import blobs, sine


@pytest.fixture(scope="session")
def waves() -> MetaRegressor:
    draw = RandomState(0)
    return MetaRegressor(
        inner_steps=3,
        hidden=(32, 32),
        activation="tanh",
        shots=10,
        queries=20,
        steps=300,
        tasks_per_step=8,
        outer_lr=0.01,
    ).meta_fit([sine(draw, 60) for _ in range(60)])


@pytest.fixture(scope="session")
def animals() -> MetaClassifier:
    draw = RandomState(0)
    return MetaClassifier(
        inner_steps=3,
        inner_lr=0.3,
        hidden=(32,),
        shots=3,
        queries=5,
        steps=150,
        tasks_per_step=8,
        outer_lr=0.01,
    ).meta_fit([blobs(draw, 40) for _ in range(60)])
