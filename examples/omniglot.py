"""Omniglot: letters of alphabets that were never seen
===================================================

Five new letters, one drawing of each: which of them is this? ``metaccord data fetch omniglot``
downloads and verifies the data.
"""

import argparse

import matplotlib.pyplot as plt
import torch

import metaccord as mc

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40)
steps = parser.parse_args().steps

# %%
# 5-way 1-shot tasks, the four-block network of the literature (narrower here, to be quick).
tasks = mc.tasks.Omniglot(ways=5, shots=1, queries=5)
objective = mc.Objective(mc.models.Conv4(ways=5, hidden=16), mc.losses.cross_entropy)
method = mc.methods.maml(steps=1, lr=0.4)
for record in mc.train(method, objective, tasks, steps=steps, num_tasks=8):
    if record.step % 10 == 0:
        print(f"step {record.step}: query loss {record.loss:.3f}")

# %%
# Two protocols, two different quantities: whether queries may tell each other about their task.
for statistics in ("transductive", "frozen"):
    protocol = mc.Protocol(tasks=50, statistics=statistics)
    print(mc.evaluate(method, objective, record.state, tasks, protocol))

# %%
# One task: the five letters on top, below each query what the adapted model says of it.
learner = mc.Learner(method, objective, record.state)
episode = tasks.episodes("test", 7, range(1))
support = mc.Batch(episode.support.inputs[0], episode.support.targets[0])
model = learner.adapt(support)
chosen = torch.arange(5) * 5
queries, truth = episode.query.inputs[0][chosen], episode.query.targets[0][chosen]
with torch.no_grad():
    sure, said = model(queries).softmax(-1).max(-1)

figure, places = plt.subplots(2, 5, figsize=(7, 3.2), constrained_layout=True)
for i in range(5):
    places[0, i].imshow(1 - support.inputs[i, 0].numpy(), cmap="gray")
    places[0, i].set_title(f"letter {int(support.targets[i])}", fontsize=8)
    places[1, i].imshow(1 - queries[i, 0].numpy(), cmap="gray")
    colour = "tab:green" if said[i] == truth[i] else "tab:red"
    places[1, i].set_title(f"says {int(said[i])}, {float(sure[i]):.0%}", fontsize=8, color=colour)
for place in places.flat:
    place.axis("off")
plt.show()
