"""learn2learn's way of working: ``MAML(model, lr)``, ``clone()``, ``adapt(loss)``.

Written anew after the documentation of learnables/learn2learn 0.2; gradients are those of plain
``torch.autograd``. A clone's tensors live beside the module: no module is changed from inside.

Example:
    >>> import torch
    >>> from metaccord.compat import learn2learn as l2l
    >>> maml = l2l.algorithms.MAML(torch.nn.Linear(1, 1), lr=0.1)
    >>> learner = maml.clone()
    >>> learner.adapt(learner(torch.ones(2, 1)).square().mean())
    >>> learner(torch.ones(2, 1)).square().mean().backward()
    >>> maml.module.weight.grad.shape
    torch.Size([1, 1])
"""

from __future__ import annotations

from metaccord.compat.absent import absent
from metaccord.compat.learn2learn import algorithms, utils
from metaccord.compat.learn2learn.utils import (
    clone_module,
    clone_parameters,
    detach_module,
    magic_box,
    update_module,
)

__all__ = [
    "algorithms",
    "clone_module",
    "clone_parameters",
    "detach_module",
    "magic_box",
    "update_module",
    "utils",
]
__getattr__ = absent(
    "learn2learn",
    {
        "data": "tasks come from metaccord.tasks: from_arrays, from_folders, from_table",
        "gym": "reinforcement learning is outside of this library",
        "nn": "models are any torch module; metaccord.models has some",
        "optim": "learned inner rules are metaccord.rules, such as MetaSGD and PerStep",
        "text": "models are any torch module",
        "vision": "metaccord.models.Conv4 and metaccord.tasks.Omniglot stand in for it",
    },
)
