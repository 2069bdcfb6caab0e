"""The codes of findings: level, exit code and remedy of each."""

from __future__ import annotations

from typing import Literal, NamedTuple

from metaccord.errors import DataError, NumericalError, UsageError

Level = Literal["fault", "warning", "notice"]


class Kind(NamedTuple):
    """What a code means.

    Attributes:
        level: ``"fault"``: results would be wrong; ``"warning"``: they probably are;
            ``"notice"``: dealt with, or good to know.
        exit_code: Of the command line, for faults.
        remedy: What to do.
    """

    level: Level
    exit_code: int
    remedy: str


_GRADIENT, _USAGE, _DATA = NumericalError.exit_code, UsageError.exit_code, DataError.exit_code
KINDS: dict[str, Kind] = {
    # the meta-gradient
    "cut_gradient": Kind(
        "fault",
        _GRADIENT,
        "remove detach(), .data, .item(), no_grad() and hand-written backward passes from the "
        "model and the criterion, or freeze the parameter openly with requires_grad=False",
    ),
    "once_differentiable": Kind(
        "fault",
        _GRADIENT,
        "write the operation in plain tensor operations, or use fomaml() or reptile()",
    ),
    "second_derivative": Kind(
        "fault",
        _GRADIENT,
        "write the layer or loss in plain tensor operations (a hand-written backward must itself "
        "be differentiable), or use fomaml() or reptile()",
    ),
    "first_order": Kind(
        "fault",
        _GRADIENT,
        "the inner rule must not detach what it is given; if first order is meant, say fomaml()",
    ),
    "wrong_gradient": Kind(
        "fault", _GRADIENT, "check the method's own rule and estimator with metaccord.testing"
    ),
    "spectral_norm": Kind(
        "fault",
        _GRADIENT,
        "its power iteration runs outside the graph: call model.eval(), it then rests and the "
        "gradient is exact",
    ),
    "not_finite": Kind(
        "fault", _GRADIENT, "look for sqrt, log or division at 0 in the model and the criterion"
    ),
    # the model and the criterion
    "does_not_run": Kind("fault", _USAGE, "mend what the message names"),
    "no_gradient": Kind(
        "fault",
        _USAGE,
        "use the parameter in forward, freeze it with requires_grad=False, or declare "
        "Objective(unused=...)",
    ),
    "not_deterministic": Kind(
        "fault",
        _USAGE,
        "draw masks with nn.Dropout or torch.nn.functional.dropout alone, and keep no state "
        "outside parameters and buffers",
    ),
    "not_mean": Kind(
        "warning", _USAGE, "use mean reduction: step sizes then do not depend on batch sizes"
    ),
    "softmax_twice": Kind(
        "warning", _USAGE, "cross_entropy takes logits: remove the softmax at the model's end"
    ),
    "dead_head": Kind(
        "fault", _USAGE, "look for a ReLU at the output, a saturated unit, or an unused input"
    ),
    "exploding_step": Kind(
        "fault", _USAGE, "lower rule.lr, take fewer inner steps, or set rule.clip_norm"
    ),
    "no_gain": Kind(
        "fault",
        _USAGE,
        "raise rule.lr or rule.steps, and see whether the inner rule moves the right parameters",
    ),
    "sees_order": Kind(
        "warning",
        _USAGE,
        "the model mixes the examples of a batch by their places: is a batch axis taken for time?",
    ),
    "sorted_labels": Kind(
        "fault",
        _DATA,
        "shuffle the examples of each task, and let the model treat them one by one",
    ),
    "in_place_buffer": Kind(
        "notice",
        _USAGE,
        "every call starts from the model's own buffers and what it writes there is dropped",
    ),
    "frozen": Kind("notice", _USAGE, "intended? if not, set requires_grad=True"),
    "running_statistics": Kind(
        "notice", _USAGE, "none: normalised by one task's batch instead (docs/protocols.md)"
    ),
    "fused_attention": Kind("notice", _USAGE, "none: computed by plain operations instead"),
    "weight_norm": Kind("notice", _USAGE, "none: computed by its plain formula instead"),
    "recurrent": Kind("notice", _USAGE, "none: tasks run one after the other (plan.chunk=1)"),
    "data_dependent": Kind(
        "notice",
        _USAGE,
        "none: tasks run one after the other (plan.chunk=1); torch.where instead of if is faster",
    ),
    "third_order": Kind(
        "notice",
        _USAGE,
        "meta-gradients are exact; for Hessians of the meta-objective use GroupNorm, RMSNorm or a "
        "norm from plain operations",
    ),
    # the tasks
    "overlap": Kind("fault", _DATA, "draw the query set from what the support set left"),
    "grid_overlap": Kind("notice", _DATA, "usual for regression on a fixed grid; say so"),
    "constant_tasks": Kind(
        "fault", _DATA, "let episodes depend on seed, step and task: use TaskSource.draws"
    ),
    "random_episodes": Kind(
        "fault",
        _DATA,
        "let episodes be a pure function of seed, split, step and task: use TaskSource.draws "
        "instead of the global generator",
    ),
    "shared_examples": Kind("fault", _DATA, "split by class (or group) before drawing tasks"),
    "shared_classes": Kind("fault", _DATA, "give every class to one split alone"),
    "sorted_classes": Kind(
        "fault", _DATA, "number the classes of each task at random: sorted numbers tell the class"
    ),
    "label_gap": Kind("warning", _DATA, "number the classes of a task 0 .. ways-1"),
    "unseen_label": Kind("fault", _DATA, "every class of the query set needs support examples"),
    "known_before": Kind(
        "fault",
        _DATA,
        "number the classes anew in each task, and see that no input holds the label",
    ),
    # what could not be said
    "uncertified": Kind("notice", _USAGE, "see the message"),
}
