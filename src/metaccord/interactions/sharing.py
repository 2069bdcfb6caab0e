"""Gradient Sharing: blend gradients of concurrent and earlier tasks into the inner loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from metaccord import tree
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError, unknown
from metaccord.interactions.base import Interaction
from metaccord.objective import Objective
from metaccord.types import Adaptation, Notes, Own, Params, Stacked


@dataclass(frozen=True, kw_only=True)
class GradientSharing(Interaction):
    r"""Blend each inner gradient with the tasks' mean and with the mean of earlier meta-steps.

    This is a **reconstruction**: only the paper's abstract is public to us. It says that gradient
    information of concurrent and previously encountered tasks is shared in the inner loop and
    scaled by meta-learned parameters; everything else here is our reading.

    With :math:`g_{i,k}` the gradient of task i at inner step k, :math:`c_k` its mean over tasks
    and :math:`m_k` a running mean of earlier :math:`c_k`, the inner rule gets

    .. math:: h = (1 - \lambda_k) g_{i,k} + \lambda_k [(1 - \mu_k) c_k + \mu_k m_k] \quad
              \text{(convex)}, \qquad h = g_{i,k} + \lambda_k c_k + \mu_k m_k \quad
              \text{(additive)}

    In the convex form :math:`\lambda_k = \mathrm{sigmoid}(a_k)` and :math:`\mu_k =
    \mathrm{sigmoid}(b_k)`; before there is any history :math:`\mu_k = 0`.

    Args:
        mode: ``"convex"`` or ``"additive"``.
        per: Coefficients for each ``"step"``, or for each ``"tensor"`` and step.
        share_start: What every :math:`\lambda_k` starts from; None: 0.5 (convex) or 0.1 (additive).
        past_start: What every :math:`\mu_k` starts from; None: as ``share_start``.
        momentum: Decay of the running mean, in [0, 1); its bias is corrected.
        differentiate: Let the meta-gradient flow through :math:`c_k` as well; then row i is what
            flows into task i's copy, no longer the meta-gradient of task i alone.
        at_test: At meta-test a task is alone, :math:`c_k` its own gradient and :math:`m_k`
            frozen. False: plain steps there.

    Shape:
        grads [T, ...] -> [T, ...]; notes: share [K] and past [K], means over tensors.
    Meets:
        share.
    State:
        learned: share [K] and past [K], or share.<name> and past.<name>: logits in the convex
        form; running: mean.<name> [K, ...], count [].

    Raises:
        UsageError: for an unknown form, or numbers out of range.
    Reference:
        Chang, Lipson, Accelerating Meta-Learning by Sharing Gradients, 2023, arXiv 2312.08398
        (abstract).
    Differs:
        Unknown; see above. The mean includes the task itself, which only rescales
        :math:`\lambda`. With one task, or equal ones, and no history the adapted solutions are
        the base's, but the second-order meta-gradient is the base's only with ``differentiate``:
        the detached mean hides a part of the curvature.
    """

    name: ClassVar[str] = "sharing"
    needs: ClassVar[frozenset[str]] = frozenset({"grads"})
    learns: ClassVar[bool] = True
    caveat: ClassVar[str] = "Gradient Sharing is a reconstruction from the paper's abstract"
    reference: ClassVar[str] = """@article{chang2023accelerating,
  title = {Accelerating Meta-Learning by Sharing Gradients},
  author = {Chang, Oscar and Lipson, Hod},
  journal = {arXiv preprint arXiv:2312.08398}, year = {2023}
}"""

    mode: Literal["convex", "additive"] = "convex"
    per: Literal["step", "tensor"] = "step"
    share_start: float | None = None
    past_start: float | None = None
    momentum: float = 0.9
    differentiate: bool = False
    at_test: bool = True

    def __post_init__(self) -> None:
        if self.mode not in (choices := ("convex", "additive")):
            raise unknown("sharing.mode", self.mode, choices)
        if self.per not in (choices := ("step", "tensor")):
            raise unknown("sharing.per", self.per, choices)
        if not 0.0 <= self.momentum < 1.0:
            raise UsageError(f"sharing.momentum is {self.momentum}: it must be in [0, 1)")
        for name in ("share_start", "past_start"):
            value = getattr(self, name)
            inside = value is None or math.isfinite(value)
            if self.mode == "convex" and value is not None:
                inside = 0.0 < value < 1.0
            if not inside:
                raise UsageError(
                    f"sharing.{name} is {value}: it must be between 0 and 1 in the convex form, "
                    "finite in the additive one"
                )

    def init(self, params: Params, steps: int, objective: Objective, seed: int) -> Own:
        """Return coefficients at their start and no history."""
        del objective, seed
        if steps == 0:
            return Own({}, {})
        usual = 0.5 if self.mode == "convex" else 0.1
        share = usual if self.share_start is None else self.share_start
        past = share if self.past_start is None else self.past_start
        learned = {}
        like = next(iter(params.values()))
        for kind, value in (("share", share), ("past", past)):
            first = math.log(value / (1 - value)) if self.mode == "convex" else value
            for name in params if self.per == "tensor" else ("",):
                learned[f"{kind}.{name}" if name else kind] = like.new_full((steps,), first)
        means = {f"mean.{k}": v.new_zeros((steps, *v.shape)) for k, v in params.items()}
        count = torch.zeros((), dtype=torch.int64, device=like.device)
        return Own(learned, {**means, "count": count})

    def share(self, own: Own, grads: Stacked, step: int, axis: TaskAxis) -> Stacked:
        """Return the blended gradients."""
        if not own.learned or (axis.isolated and not self.at_test):
            return grads  # trained without inner steps, or asked for plain ones
        common = axis.mean(grads)
        if not self.differentiate:
            common = tree.detached(common)
        count = own.running["count"].double()
        weight = torch.where(count > 0, 1.0 - self.momentum**count, 1.0)  # corrects the bias
        known = (count > 0).to(weight.dtype)
        blended = {}
        for name, mine in grads.items():
            means = own.running[f"mean.{name}"]  # [K, ...]
            earlier = means[min(step, len(means) - 1)] / weight.to(means.dtype)
            among, past = (
                self._coefficient(own.learned, kind, name, step).view(-1, *[1] * (mine.dim() - 1))
                for kind in ("share", "past")
            )
            if self.mode == "additive":
                blended[name] = mine + among * common[name] + past * earlier
                continue
            past = past.sigmoid() * known.to(mine.dtype)
            others = torch.lerp(common[name], earlier.expand_as(mine), past)
            blended[name] = torch.lerp(mine, others, among.sigmoid())
        return blended

    def observe(self, own: Own, run: Adaptation, axis: TaskAxis) -> tuple[Params, Notes]:
        """Move the running means, and record the coefficients."""
        if not run.grads:
            return own.running, {}
        running = {"count": own.running["count"] + 1}
        steps = range(len(run.grads))
        every = {f"{k}.{name}": g for k in steps for name, g in run.grads[k].items()}
        means = axis.mean(every)  # one exchange for all steps
        for name in run.grads[0]:
            now = torch.stack([means[f"{k}.{name}"][0] for k in steps])  # [K, ...]
            before = own.running[f"mean.{name}"]
            running[f"mean.{name}"] = self.momentum * before + (1 - self.momentum) * now
        notes = {}
        for kind in ("share", "past"):
            found = [v[0] for k, v in own.learned.items() if k.split(".")[0] == kind]
            shown = torch.stack(found)  # [1 or tensors, K]
            notes[kind] = (shown.sigmoid() if self.mode == "convex" else shown).mean(0)
        return running, notes

    def _coefficient(self, learned: Stacked, kind: str, name: str, step: int) -> Tensor:
        """Return the coefficient of a tensor at a step: ``[T]``; the last one repeats."""
        rows = learned[f"{kind}.{name}" if self.per == "tensor" else kind]  # [T, K]
        return rows[:, min(step, rows.shape[1] - 1)]
