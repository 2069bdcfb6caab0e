from types import SimpleNamespace

import pytest

import metaccord as mc


@pytest.fixture(scope="session")
def learner():
    """An untrained Reptile on sine waves."""
    objective = mc.Objective(mc.models.MLP(1, (8,), 1), mc.losses.mse)
    method = mc.methods.reptile(5, 0.02)
    state = mc.initialise(method, objective, seed=0)
    return SimpleNamespace(method=method, objective=objective, state=state)


def texts(figure):
    """Return everything that is written on a figure, one string."""
    axes = figure.axes
    found = [t.get_text() for ax in axes for t in ax.texts]
    found += [ax.get_title(loc="left") for ax in axes]
    found += [text for ax in axes for text in (ax.get_xlabel(), ax.get_ylabel())]
    return " | ".join([figure.get_suptitle(), figure.get_supxlabel(), *found]).replace("\n", " ")
