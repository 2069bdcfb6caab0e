"""Sine waves: the smallest meta-learning problem
==============================================

Each task is a sine wave of its own amplitude and phase. After meta-training, a network draws a new
wave from ten points in a few gradient steps.
"""

import argparse

import matplotlib.pyplot as plt
import torch

import metaccord as mc

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=400)
steps = parser.parse_args().steps

# %%
# Tasks, a model with its loss, and a method: these three are all there is. Gradient Sharing lets
# the inner gradients of the tasks of a meta-step influence one another.
tasks = mc.tasks.Sinusoid(shots=10, inputs="uniform")
objective = mc.Objective(mc.models.MLP(1, (40, 40), 1), mc.losses.mse)
outer = mc.Outer(lr=5e-3)
method = mc.methods.gradient_sharing(mc.methods.maml(steps=3, lr=0.03))

# %%
# The loop is yours: print, stop early, keep what you like.
curve = []
for record in mc.train(method, objective, tasks, steps=steps, num_tasks=10, outer=outer):
    curve.append(record.loss)
scores = mc.evaluate(method, objective, record.state, tasks, mc.Protocol(tasks=100))
print(scores)

# %%
# One new task, before and after adaptation to its points.
learner = mc.Learner(method, objective, record.state)
episode = tasks.episodes("test", 0, range(1))
points = mc.Batch(episode.support.inputs[0], episode.support.targets[0])
x = torch.linspace(-5, 5, 200)[:, None]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
left.plot(curve, linewidth=0.8)
left.set(xlabel="meta-step", ylabel="query loss", yscale="log")
for count, style in ((0, ":"), (1, "--"), (3, "-")):
    model = learner.adapt(points, steps=count)
    with torch.no_grad():
        right.plot(x, model(x), style, label=f"after {count} steps")
right.plot(points.inputs, points.targets, "k.", label="the ten points")
right.set(xlabel="x", ylabel="y")
right.legend(fontsize=8)
plt.show()
