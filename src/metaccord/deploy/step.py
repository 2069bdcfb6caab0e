"""Exporting the adaptation itself: a service learns new tasks without this library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from metaccord import tree
from metaccord.deploy import formats
from metaccord.deploy.adapted import references
from metaccord.deploy.describe import described, examples
from metaccord.errors import UsageError
from metaccord.evaluate import isolated, predict
from metaccord.serial import to_tree
from metaccord.stored import versions
from metaccord.types import Batch, Episode, MetaState, Params

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from metaccord.learner import Learner

NAMES = ["support_inputs", "support_targets", "query_inputs"]
_SIZES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43)  # of traced batches: unlike any other size


def export_adaptation(
    learner: Learner,
    support: Batch,
    path: str | Path,
    *,
    to: formats.Format = "torch",
    steps: int | None = None,
) -> None:
    """Write the adaptation as a program: support inputs and targets, query inputs -> outputs.

    The program holds what was meta-trained, takes the inner steps and answers the queries with
    batch normalisation frozen to the support set. It takes any number of support and query
    examples (of a method with mini-batches: as many support examples as given here). Tensors are
    as the model sees them, and outputs are the model's: logits, or numbers in the units of the
    targets.

    Args:
        learner: As meta-trained.
        support: Examples ``[n, ...]`` of the kind that will be given; only shapes and types count.
        path: A new file, ``.pt2`` or ``.onnx``.
        to: ``"torch"`` or ``"onnx"``, which has operators for gradients of linear layers, but not
            of convolutions.
        steps: Inner steps; None: as trained.

    Raises:
        UsageError: if the file exists, the model takes several inputs, or a format lacks
            operators.
    """
    formats.refuse_place(Path(path), to)
    if not isinstance(support.inputs, Tensor) or not isinstance(support.targets, Tensor):
        raise UsageError("the adaptation is exported for models with one input and one target")
    method = learner.method.with_steps(steps)
    fixed = method.rule.batch is not None
    coding = learner.coding
    facts = {
        "kind": "adaptation",
        "method": method.label,
        "steps": method.rule.steps,
        "protocol": "frozen",
        "inputs": described(support.inputs),
        "targets": described(support.targets),
        "support": len(support.inputs) if fixed else None,
        "coding": None if coding is None else to_tree(coding),
        "trained": {"steps": learner.state.step, "run": learner.origin.run},
        "cite": references(method),
        "versions": versions(),
    }
    program = adaptation(learner, support, steps=steps, plain=to == "onnx")
    shapes = (facts["inputs"], facts["targets"], facts["inputs"])
    sizes = (len(support.inputs), len(support.inputs), 5)
    given = [examples(shape, size) for shape, size in zip(shapes, sizes, strict=True)]
    formats.write(program, Path(path), to, facts, dict(zip(NAMES, given, strict=True)))


def adaptation(
    learner: Learner, support: Batch, *, steps: int | None = None, plain: bool = False
) -> ExportedProgram:
    """Return the adaptation as a program; see :func:`export_adaptation`.

    Args:
        learner, support, steps: As there.
        plain: Compute the gradient of cross-entropy by plain operations, which ONNX has.
    """
    cpu = torch.device("cpu")
    plan = replace(learner.objective.plan, chunk=1, checkpoint=False, compile=False, memory=None)
    objective = replace(learner.objective, plan=plan, device=cpu)
    method = learner.method.with_steps(steps)
    learned = tree.to((learner.state.params, learner.state.running), cpu)

    def adapt(learned: tuple[Params, Params], x: Tensor, y: Tensor, query: Tensor) -> Any:
        one = tree.mapped(lambda leaf: leaf.unsqueeze(0), Batch(x, y))
        state = MetaState(*learned, learner.state.step)
        run = isolated(method, objective, state, Episode(one, one))
        with torch.no_grad():
            return predict(objective, "frozen", tree.first(run.solution), Batch(x, y), query)

    taken = {*support.inputs.shape[1:], *support.targets.shape[1:]}
    count, queries = [size for size in _SIZES if size not in taken][:2]
    fixed = method.rule.batch is not None
    count = len(support.inputs) if fixed else count
    shapes = (described(support.inputs), described(support.targets))
    x, y = (examples(shape, count) for shape in shapes)
    query = examples(shapes[0], queries if queries != count else queries + 2)
    with formats.quiet():
        table = {torch.ops.aten.nll_loss_backward.default: _nll_backward} if plain else None
        traced = make_fx(adapt, decomposition_table=table, tracing_mode="symbolic")(
            learned, x, y, query
        )
        module = _Program(traced, learned)
        n, m = torch.export.Dim("support", min=1), torch.export.Dim("queries", min=1)
        known = {} if fixed else {0: n}
        return torch.export.export(
            module, (x, y, query), dynamic_shapes=(known, known, {0: m}), strict=False
        )


class _Program(nn.Module):
    """The traced adaptation with what was meta-trained as its own tensors."""

    def __init__(self, traced: Callable[..., Any], learned: tuple[Params, Params]) -> None:
        super().__init__()
        self.traced = traced
        self.names = tuple(
            {name: f"{part}__{name.replace('.', '__')}" for name in tensors}
            for part, tensors in zip(("learned", "running"), learned, strict=True)
        )
        for names, tensors in zip(self.names, learned, strict=True):
            for name, tensor in tensors.items():
                self.register_buffer(names[name], tensor.detach().clone())

    def forward(self, support_inputs: Tensor, support_targets: Tensor, query_inputs: Tensor) -> Any:
        """Return the outputs for the queries."""
        learned = tuple({k: getattr(self, own) for k, own in names.items()} for names in self.names)
        return self.traced(learned, support_inputs, support_targets, query_inputs)


def _nll_backward(
    grad: Tensor,
    odds: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore: int,
    total: Tensor,
) -> Tensor:
    """Return the gradient of the negative log-likelihood; torch.onnx 2.13 has another one."""
    if weight is not None or reduction != 1 or odds.dim() != 2:
        return NotImplemented
    hot = target[:, None] == torch.arange(odds.shape[1])  # [n, ways]
    return -hot.to(odds.dtype) * grad / (target != ignore).sum()
