"""Meta-learning with scikit-learn's manners: ``meta_fit`` on many tasks, ``fit`` on a new one.

Needs scikit-learn; nothing else imports this package.
"""

from __future__ import annotations

from metaccord.errors import UsageError

try:
    import sklearn.base  # noqa: F401
except ImportError as error:
    raise UsageError(
        "metaccord.scikit needs scikit-learn 1.6 or newer: pip install 'metaccord[sklearn]'"
    ) from error

from metaccord.scikit.classifier import MetaClassifier
from metaccord.scikit.learned import Learned
from metaccord.scikit.regressor import MetaRegressor

__all__ = ["EXPECTED_FAILED_CHECKS", "Learned", "MetaClassifier", "MetaRegressor"]

EXPECTED_FAILED_CHECKS: dict[str, str] = {}
"""Checks of scikit-learn's ``check_estimator`` that fail, each with its reason."""
