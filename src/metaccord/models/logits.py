"""Models that return more than their outputs."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from metaccord.errors import UsageError


class Logits(nn.Module):
    """A model that returns one field of what another one returns.

    Models of the library ``transformers`` return a record of logits, hidden states and caches.
    A criterion, a co-learner or a confidence needs the logits alone. Inputs that are a dict call
    ``network(**inputs)``: ``Batch({"input_ids": ..., "attention_mask": ...}, targets)``.

    Args:
        network: The model, for example of ``AutoModelForSequenceClassification``.
        field: Name of what is returned.

    Shape:
        As the network's field.

    Raises:
        UsageError: if the network returns no such field.
    """

    def __init__(self, network: nn.Module, field: str = "logits") -> None:
        super().__init__()
        self.network, self.field = network, field
        caches = "use_cache" in inspect.signature(network.forward).parameters
        self.given = {"use_cache": False} if caches else {}

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the field."""
        found = self.network(*args, **{**self.given, **kwargs})
        wanted = getattr(found, self.field, None)
        if not isinstance(wanted, Tensor):
            has = ", ".join(found) if isinstance(found, dict) else type(found).__name__
            raise UsageError(
                f"{type(self.network).__name__} returned no tensor {self.field!r} but {has}: set "
                "field="
            )
        return wanted
