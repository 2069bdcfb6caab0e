"""A small transformer, adapted by LoRA
====================================

A BERT built from its configuration (nothing is downloaded) reads sentences of made-up words. Each
task is a secret word: does a sentence hold it? What is learned and what moves inside are two
choices.
"""

import argparse
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import transformers

import metaccord as mc
from metaccord.tasks.stream import below

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=15)
steps = parser.parse_args().steps

# %%
# The model. ``Logits`` returns one field of the record that a Hugging Face model returns.
config = transformers.BertConfig(
    vocab_size=32, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=8, num_labels=2,
)  # fmt: skip
torch.manual_seed(0)
bert = mc.models.Logits(transformers.BertForSequenceClassification(config))


# %%
# The tasks: other secret words in training than in the test.
@dataclass(frozen=True, kw_only=True)
class SecretWord(mc.tasks.TaskSource):
    """Sentences of five words; the first label says that the secret word is among them."""

    classifies = True

    def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
        """Return the tasks of one step."""
        sides = [2 * self.support_shots(split), 2 * self.queries]
        raw = self.draws(split, step, tasks, 3 + 6 * sum(sides))
        first, count = (4, 20) if split == "train" else (24, 8)
        secret = torch.from_numpy(below(raw[:, 2], count))[:, None, None] + first
        words = torch.from_numpy(below(raw[:, 3:], 28)).view(len(tasks), -1, 6) + 4
        place, words = words[..., :1].remainder(5), words[..., 1:]
        words = torch.where(words == secret, 1, words)
        targets = torch.arange(sum(sides)).remainder(2).repeat(len(tasks), 1)
        held = words.scatter(2, place, secret.expand_as(place))
        words = torch.where(targets[..., None] == 1, held, words)
        pairs = zip(words.split(sides, 1), targets.split(sides, 1), strict=True)
        return mc.Episode(*(mc.Batch({"input_ids": w}, t) for w, t in pairs), self.keys(raw))


tasks = SecretWord(shots=5, queries=5)

# %%
# Everything moves; or LoRA and head are learned and both move; or the same, and the head moves.
lora = mc.models.lora(bert, rank=2, learn=("network.classifier",))
head = ("network.classifier",)
cases = {
    "all weights": (bert, mc.methods.maml(steps=2, lr=0.3)),
    "LoRA and head": (lora, mc.methods.maml(steps=2, lr=0.3)),
    "LoRA learned, head moves": (lora, mc.methods.anil(steps=2, lr=0.3, head=head)),
}
for name, (model, method) in cases.items():
    objective = mc.Objective(model, mc.losses.cross_entropy)
    losses = [r.loss for r in mc.train(method, objective, tasks, steps=steps, num_tasks=4)]
    plt.plot(losses, label=f"{name}: {sum(p.numel() for p in objective.trainable().values()):,}")
plt.xlabel("meta-step"), plt.ylabel("query loss")
plt.legend(title="learned weights")
plt.show()
