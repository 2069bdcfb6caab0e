"""MLflow: a local store in ``RUN/trackers/mlflow``, or the one in MLFLOW_TRACKING_URI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaccord import fs
from metaccord.trackers.base import Tracker

EXPERIMENT, MARK = "metaccord", "run.id"
_LONGEST = 500  # letters of a parameter
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}


class MLflow(Tracker):
    """One MLflow run, which a resumed training goes on with.

    Look at it with ``mlflow ui --backend-store-uri RUN/trackers/mlflow/store``.

    Args:
        folder: Of the store, and of the mark that names the run.
        settings: What was trained; they become parameters.
    """

    name = "mlflow"

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        for key, value in _QUIET.items():
            os.environ.setdefault(key, value)
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        from metaccord.trackers.opening import flat

        fs.make(folder)
        place = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "store").resolve().as_uri()
        self._client, self._metric = MlflowClient(place), Metric
        mark = folder / MARK
        if mark.exists():
            self._run = fs.read(mark, 1000).decode().strip()
            history = self._client.get_metric_history(self._run, "seconds")
            super().__init__(max((m.step for m in history), default=0))
            self._client.set_terminated(self._run, status="RUNNING")
            return
        super().__init__()
        known = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(EXPERIMENT)
        made = self._client.create_run(experiment, run_name=folder.resolve().parent.parent.name)
        self._run = made.info.run_id
        for key, value in flat(settings).items():
            self._client.log_param(self._run, _named(key), value[:_LONGEST])
        fs.write_atomic(mark, self._run.encode())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log one batch of metrics; the time of a step comes last, because it marks the step."""
        order = sorted(values, key=lambda name: (name == "seconds", name))
        at = step  # no clock: the same records give the same store
        batch = [self._metric(_named(k), values[k], at, step) for k in order]
        self._client.log_batch(self._run, metrics=batch)

    def end(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


def _named(key: str) -> str:
    """Return a name that MLflow takes: letters, digits and ``_-. :/``."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in key)
