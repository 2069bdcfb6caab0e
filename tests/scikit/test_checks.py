"""scikit-learn's own checks of an estimator, and what they do not see."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import metaccord as mc
from metaccord.scikit import EXPECTED_FAILED_CHECKS, MetaClassifier, MetaRegressor

SMALL = {"hidden": (16,), "fresh_steps": 40, "inner_lr": 0.3}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [MetaRegressor(**SMALL), MetaClassifier(**SMALL)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS,
)
def test_sklearn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_exceptions_are_few_and_have_reasons() -> None:
    assert len(EXPECTED_FAILED_CHECKS) <= 3
    assert all(EXPECTED_FAILED_CHECKS.values())


def test_the_package_imports_sklearn_when_asked_and_names_the_extra() -> None:
    code = (
        "import sys, metaccord as mc; assert 'sklearn' not in sys.modules\n"
        "sys.modules['sklearn'] = None\n"
        "try: mc.MetaRegressor\n"
        "except mc.errors.UsageError as error: print(error)\n"
        "del sys.modules['sklearn']\n"
        "print(mc.MetaRegressor.__module__, mc.MetaClassifier.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    refusal, modules = done.stdout.splitlines()
    assert "pip install 'metaccord[sklearn]'" in refusal
    assert modules.split() == ["metaccord.scikit.regressor", "metaccord.scikit.classifier"]
    with pytest.raises(AttributeError, match="MetaTransformer"):
        mc.MetaTransformer  # noqa: B018
