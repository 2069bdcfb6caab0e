"""Draw docs/pictures/predictions.png: a short training, so that some answers are unsure.

Usage: METACCORD_DATA=... python docs/deploy_picture.py
"""

from pathlib import Path

import torch

import metaccord as mc
from metaccord import fs, tree
from metaccord.plots import style
from metaccord.plots.predictions import predictions


def main() -> None:
    torch.set_num_threads(1)
    tasks = mc.tasks.Omniglot(queries=3, shots=3)
    objective = mc.Objective(mc.models.Conv4(hidden=16), mc.losses.cross_entropy)
    method = mc.methods.maml(steps=3, lr=0.4)
    *_, record = mc.train(method, objective, tasks, steps=60, num_tasks=4)
    learner = mc.Learner(method, objective, record.state)
    measured = mc.deploy.measure(learner, 40, source=tasks)
    episodes = tasks.episodes("test", 0, range(1))
    support, query = tree.unbind((episodes.support, episodes.query))[0]
    made = learner.predictor(support, classes=[f"sign {i}" for i in range(5)], measured=measured)
    given = made.coded(query.inputs)
    figure = predictions(made, given, made.answers(given))
    path = Path(__file__).parent / "pictures" / "predictions.png"
    fs.write_atomic(path, style.encode(figure, "png", dpi=110))


if __name__ == "__main__":
    main()
