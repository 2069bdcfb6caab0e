"""Small transformers built from their configurations; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import metaccord as mc
from metaccord.keys import seeded

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def bert(attention: str = "sdpa", dropout: float = 0.0) -> nn.Module:
    """Return a sentence classifier."""
    import transformers

    config = transformers.BertConfig(
        **SMALL, vocab_size=20, intermediate_size=12, max_position_embeddings=8, num_labels=3,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        attn_implementation=attention,
    )  # fmt: skip
    with seeded(0):
        return mc.models.Logits(transformers.BertForSequenceClassification(config))


def gpt2(attention: str = "sdpa", dropout: float = 0.0) -> nn.Module:
    """Return a classifier of the last word."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, num_labels=3, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, resid_pdrop=dropout, embd_pdrop=dropout,
        attn_pdrop=dropout, attn_implementation=attention,
    )  # fmt: skip
    with seeded(0):
        return mc.models.Logits(transformers.GPT2ForSequenceClassification(config))


def vit(attention: str = "sdpa", dropout: float = 0.0) -> nn.Module:
    """Return a picture classifier."""
    import transformers

    config = transformers.ViTConfig(
        **SMALL, intermediate_size=12, image_size=4, patch_size=2, num_channels=1, num_labels=3,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        attn_implementation=attention,
    )  # fmt: skip
    with seeded(0):
        return mc.models.Logits(transformers.ViTForImageClassification(config))


class Torchs(nn.Module):
    """PyTorch's own encoder layers on words, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the logits."""
        del attention_mask
        return self.head(self.body(self.words(input_ids)).mean(1))


def torchs() -> nn.Module:
    """Return PyTorch's own transformer."""
    with seeded(0):
        return Torchs()


FOREIGN: dict[str, Callable[..., nn.Module]] = {"bert": bert, "gpt2": gpt2, "vit": vit}


def episode(model: nn.Module, tasks: int = 2, count: int = 3) -> mc.Episode:
    """Return tasks for one of these models: words with padding, or pictures."""
    generator = torch.Generator().manual_seed(1)

    def batch() -> mc.Batch:
        targets = torch.arange(count).remainder(3).expand(tasks, count).clone()
        inputs: dict[str, Any]
        if "ViT" in type(getattr(model, "network", model)).__name__:
            inputs = {"pixel_values": torch.randn(tasks, count, 1, 4, 4, generator=generator)}
        else:
            words = torch.randint(3, 20, (tasks, count, 5), generator=generator)
            mask = torch.ones_like(words)
            mask[:, ::2, 4:] = 0
            inputs = {"input_ids": words * mask, "attention_mask": mask}
        return mc.Batch(inputs, targets)

    return mc.Episode(batch(), batch())


criterion = F.cross_entropy
