"""How good and how sure adapted models are on unseen tasks, and a temperature that calibrates them.

Everything is measured as an adapted model answers: batch normalisation frozen to the support set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metaccord import tree
from metaccord.calibration import Calibration
from metaccord.errors import NumericalError, UsageError
from metaccord.evaluate import adapted_runs, predict
from metaccord.protocol import Protocol
from metaccord.statistics import Interval, over_tasks
from metaccord.tasks.source import TaskSource
from metaccord.tuning import settled
from metaccord.uneven import alone, cut

if TYPE_CHECKING:
    from metaccord.learner import Learner

LARGEST = 20.0  # temperature, and its reciprocal
_HALVINGS = 60


@dataclass(frozen=True)
class Measured:
    """What was found on the test tasks of a run.

    Attributes:
        protocol: How it was measured; always frozen.
        accuracy: Over tasks; None for regression.
        error: Root of the mean squared error in the user's units; None for classification.
        temperature: Fitted on validation tasks, by which logits are divided; 1 for regression.
        plain, calibrated: Calibration on the test tasks without and with the temperature.
    """

    protocol: Protocol
    accuracy: Interval | None
    error: float | None
    temperature: float = 1.0
    plain: Calibration | None = None
    calibrated: Calibration | None = None

    def json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {
            "protocol": vars(self.protocol),
            "accuracy": None if self.accuracy is None else self.accuracy._asdict(),
            "error": self.error,
            "temperature": self.temperature,
            "plain": None if self.plain is None else self.plain.json(),
            "calibrated": None if self.calibrated is None else self.calibrated.json(),
        }

    def __str__(self) -> str:
        if self.accuracy is None:
            return f"error {self.error:.4g} (root mean square; {self.protocol})"
        mean, half = (100 * x for x in self.accuracy)
        return (
            f"accuracy {mean:.2f} ± {half:.2f} % ({self.protocol}); {self.calibrated}; without "
            f"temperature {self.temperature:.3g}: {self.plain}"
        )


def measure(
    learner: Learner,
    tasks: int = 100,
    *,
    source: TaskSource | None = None,
    steps: int | None = None,
) -> Measured:
    """Measure a learner on unseen tasks as its adapted models will answer.

    The temperature is fitted on validation tasks and judged on test tasks.

    Args:
        learner: As meta-trained.
        tasks: Number of validation tasks, and of test tasks, at least 2.
        source: Where episodes come from; None: those of the run.
        steps: Inner steps; None: as trained.

    Raises:
        UsageError: without a source.
        DataError: if the data of the run are not there.
        NumericalError: if an answer is not finite, so that nothing could be said.

    Reference:
        Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017,
        Section 4.2.
    """
    experiment = learner.origin.experiment
    if source is None and experiment is None:
        raise UsageError("measure needs source=, the tasks: this learner comes from no run")
    given = experiment.tasks if source is None and experiment is not None else source
    assert given is not None
    taken = learner.method.rule.steps if steps is None else steps
    test = Protocol(statistics="frozen", tasks=tasks, steps=taken)
    if not given.classifies:
        squares = [
            (learner.values(outputs) - learner.values(targets)).double().square().mean()
            for outputs, targets in answered(learner, given, test)
        ]
        return Measured(test, None, float(torch.stack(squares).mean().sqrt()))
    temperature = fitted(list(answered(learner, given, replace(test, split="validation"))))
    hits, plain, calibrated = [], [], []
    for logits, targets in answered(learner, given, test):
        hits.append(float((logits.argmax(-1) == targets).double().mean()))
        plain.append(Calibration.of_logits(logits, targets))
        calibrated.append(Calibration.of_logits(logits / temperature, targets))
    return Measured(test, over_tasks(hits), None, temperature, _sum(plain), _sum(calibrated))


def answered(
    learner: Learner, source: TaskSource, protocol: Protocol
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield outputs and targets of the queries of each task of a protocol, on the CPU."""
    objective = settled(learner.objective)
    method = learner.method.with_steps(protocol.steps)
    stream = replace(source, seed=protocol.seed)
    for run in adapted_runs(method, objective, learner.state, stream, protocol):
        stacked = (run.solution, run.episodes.support, run.episodes.query)
        for params, support, query in tree.unbind(stacked):
            support, query = alone(support), alone(query)
            with torch.no_grad():
                outputs = predict(objective, protocol.statistics, params, support, query.inputs)
            found = cut(outputs, query.ways).cpu()
            if not bool(found.isfinite().all()):
                raise NumericalError(
                    f"an adapted model answers with numbers that are not finite on a "
                    f"{protocol.split} task: take fewer inner steps, or measure nothing"
                )
            yield found, query.targets.cpu()


def fitted(answers: list[tuple[Tensor, Tensor]]) -> float:
    """Return the temperature that makes answers most likely, in [1 / 20, 20].

    The likelihood is concave in the reciprocal of the temperature, so that its slope has one root.

    Args:
        answers: Logits ``[n, ways]`` and labels ``[n]`` of each task, which all weigh the same.
    """

    def slope(scale: float) -> float:
        total = 0.0
        for logits, targets in answers:
            z = logits.double()
            odds = (scale * z).softmax(-1)
            true = z.gather(1, targets[:, None])[:, 0]
            total += float(((odds * z).sum(1) - true).mean())
        return total

    low, high = -math.log(LARGEST), math.log(LARGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def _sum(parts: list[Calibration]) -> Calibration:
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found
