"""Aggregators from elsewhere: TorchJD's by name, or any function of the gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from metaccord.axis import TaskAxis
from metaccord.errors import NumericalError, UsageError, nearest, unknown
from metaccord.interactions.base import Interaction
from metaccord.interactions.pcgrad import task_keys
from metaccord.keys import mix, seeded
from metaccord.tree import flat, scale, scope, under
from metaccord.types import Adaptation, Notes, Own, Params, Stacked

_NOT_NUMBERS = {"pref_vector", "leak", "f", "projector"}  # per task, or objects
_SALT = 0x64726177  # tells an aggregator's draws from other uses of the tasks' keys


@dataclass(frozen=True, kw_only=True)
class Aggregate(Interaction):
    """Combine the tasks' meta-gradients by an aggregator of TorchJD, or by a function.

    The rows of the model, flattened, are handed over as a matrix ``[N, P]``, in the order of the
    tasks' keys (``episodes.extra["order"]``): tasks have no places. Random draws inside come from
    these keys, too. An aggregator that weighs tasks has its weights applied to every row, learned
    step sizes included; with any other the model gets the aggregated vector, and whatever else is
    learned gets its mean. A task on an isolated axis keeps its row.

    Args:
        function: Name of a class of ``torchjd.aggregation``, such as ``"MGDA"`` or ``"UPGrad"``,
            without those that remember earlier calls or weigh tasks by place. Or an object that
            is called with the matrix and returns ``[P]``; such a value cannot be stored, and what
            it remembers is not resumed.
        options: Pairs of name and value for the class of that name: ``(("c", 0.4),)``.

    Shape:
        rows [T, ...] -> [T, ...]; note: weights [N], of aggregators that have them.
    Meets:
        reconcile; independent. Does not compile: with ``Plan(compile=True)`` training warns once
        and goes on without.
    State:
        none
    Reference:
        Quinton, Rey, Jacobian Descent for Multi-Objective Optimization, 2024, arXiv 2406.16232,
        for the library; each aggregator has a paper of its own.
    Differs:
        Aggregators made for sums of losses (``"Sum"``, ``"PCGrad"``, ``"UPGrad"``) keep their
        own scale; only :class:`metaccord.interactions.PCGrad` is a mean.

    Raises:
        UsageError: without TorchJD, for an unknown name or option, or a result of another shape.
        NumericalError: for a result that is not finite.

    Example:
        >>> from metaccord.methods import aggregated, maml
        >>> aggregated(maml(), "Krum", n_byzantine=1).label
        'maml+aggregate'
    """

    function: str | Callable[[Tensor], Tensor] = "MGDA"
    options: tuple[tuple[str, bool | int | float | str], ...] = ()
    name: ClassVar[str] = "aggregate"
    reference: ClassVar[str] = """@article{quinton2024jacobian,
  title = {Jacobian Descent for Multi-Objective Optimization},
  author = {Quinton, Pierre and Rey, Val{\\'e}rian},
  journal = {arXiv preprint arXiv:2406.16232}, year = {2024}
}"""

    def __post_init__(self) -> None:
        if not isinstance(self.function, str) and self.options:
            raise UsageError("aggregate.options belong to a name: give the object its own options")
        self._built()

    def reconcile(
        self, own: Own, rows: Stacked, run: Adaptation, axis: TaskAxis
    ) -> tuple[Stacked, Notes]:
        """Weigh the rows, or put the aggregated vector in each."""
        del own
        model = scope(rows, "model")
        if axis.isolated:
            return rows, {}
        matrix, keys = axis.gather(flat(model)), task_keys(run, axis)
        if not matrix.isfinite().all():  # not the aggregator's fault: the mean will be refused
            return rows, {}
        order = keys.argsort(stable=True)
        with seeded(int(mix(keys, _SALT).sum())):
            found, weighs = self._applied(matrix[order])
        self._check(found, axis.count if weighs else matrix.shape[1])
        found = found.detach().to(matrix.dtype)
        if weighs:
            weights = found[order.argsort()]
            return scale(rows, axis.size * axis.mine(weights)), {"weights": weights}
        return rows | under(_expanded(found, model), "model"), {}

    def _built(self) -> Any:
        """Return the object that aggregates: a new one for a name."""
        if not isinstance(self.function, str):
            return self.function
        cls, options = _named(self.function), dict(self.options)
        taken = inspect.signature(cls).parameters.keys() - _NOT_NUMBERS
        for key in options:
            if key not in taken:
                offered = nearest(key, taken) if taken else "it has none"
                raise UsageError(f"unknown option {key!r} of {self._label}: {offered}")
        try:
            return cls(**options)
        except (ImportError, TypeError, ValueError) as error:
            raise UsageError(f"{self._label} cannot be made: {_line(error)}") from error

    def _applied(self, matrix: Tensor) -> tuple[Tensor, bool]:
        """Return weights of the rows and True, or the aggregated vector and False."""
        function = self._built()
        weighs = _weighs(function)
        call = function.weighting if weighs else function
        if not isinstance(self.function, str):
            return call(matrix), weighs  # an error inside keeps the traceback of its author
        try:
            return call(matrix), weighs
        except (ArithmeticError, ImportError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self._label} refuses {len(matrix)} tasks of {matrix.shape[1]} numbers: "
                f"{_line(error)}"
            ) from error

    def _check(self, found: Any, length: int) -> None:
        if not isinstance(found, Tensor) or found.shape != (length,):
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"{self._label} gives {what}: it must give a tensor [{length}]")
        if not found.isfinite().all():
            raise NumericalError(
                f"{self._label} gives values that are not finite for finite gradients: choose "
                "another aggregator or other options"
            )

    @property
    def _label(self) -> str:
        if isinstance(self.function, str):
            return f"aggregator {self.function}"
        return f"aggregator {getattr(self.function, '__name__', type(self.function).__name__)}"


def library() -> ModuleType:
    """Return ``torchjd.aggregation``.

    Raises:
        UsageError: if it is missing or too old.
    """
    try:
        from torchjd import aggregation
        from torchjd.aggregation import GramianWeightedAggregator, WeightedAggregator
    except ImportError as error:
        raise UsageError(
            f"TorchJD 0.12 or newer is needed ({_line(error)}): pip install "
            "'metaccord[aggregators]'"
        ) from error
    assert issubclass(GramianWeightedAggregator, WeightedAggregator)
    return aggregation


def _named(name: str) -> Callable[..., Any]:
    """Return a public aggregator of TorchJD that suits tasks that come and go."""
    public = library()
    kinds = [public.Aggregator, public.WeightedAggregator, public.GramianWeightedAggregator]
    every = {
        word: cls
        for word in public.__all__
        if issubclass(cls := getattr(public, word), public.Aggregator) and cls not in kinds
    }
    lasting = {word for word, cls in every.items() if hasattr(cls, "reset")}
    if name in lasting:
        raise UsageError(
            f"aggregator {name} remembers earlier calls, which a stored value cannot: give an "
            "instance in Python"
        )
    if name == "Constant":
        raise UsageError("aggregator Constant weighs tasks by place, and tasks have none: use Mean")
    known = every.keys() - lasting - {"Constant"}
    if name not in known:
        raise unknown("aggregator", name, known)
    return every[name]


def _weighs(function: Any) -> bool:
    """Say whether an object is TorchJD's kind that finds one weight per row."""
    return any(cls.__name__ == "WeightedAggregator" for cls in type(function).__mro__)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _expanded(vector: Tensor, like: Stacked) -> Stacked:
    """Return the flat vector as rows, the same for each task: ``[P] -> [T, ...]``."""
    names = sorted(like)
    pieces = torch.split(vector, [like[k][0].numel() for k in names])
    found: Params = {}
    for name, piece in zip(names, pieces, strict=True):
        found[name] = piece.reshape(like[name].shape[1:]).expand_as(like[name])
    return found
