"""Your own folder of pictures
===========================

A folder per class is all that is needed; sizes and modes may differ. Here the pictures are drawn by
the script: twelve kinds of shapes. The model learns to tell *new* kinds apart from three pictures
of each.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import metaccord as mc
from metaccord.defaults import default

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--out", type=Path, help="default: a temporary folder")
options = parser.parse_args()
out = options.out or Path(tempfile.mkdtemp())

# %%
# Stand-ins for your pictures: polygons, crossed lines and rings, each at a place of its own.
draw = np.random.default_rng(0)


def picture(kind: int) -> Image.Image:
    """Return one picture of a kind, turned and shifted a little."""
    page = Image.new("L", (40, 36), 255)
    pen, turn = ImageDraw.Draw(page), draw.uniform(0, 20) + 30 * (kind % 2)
    x, y, r = *draw.uniform(15, 21, 2), draw.uniform(9, 13)
    if kind < 6:
        pen.regular_polygon((x, y, r), 3 + kind // 2, rotation=turn, outline=0, width=2)
    elif kind < 9:
        pen.ellipse((x - r, y - r, x + r, y + r), outline=0, width=2 + 2 * (kind - 6))
    else:
        for i in range(kind - 7):
            angle = np.radians(turn + 180 * i / (kind - 7))
            dx, dy = r * np.cos(angle), r * np.sin(angle)
            pen.line((x - dx, y - dy, x + dx, y + dy), fill=0, width=3)
    return page


for kind in range(12):
    folder = out / "pictures" / f"kind {kind:02}"
    folder.mkdir(parents=True)
    for i in range(10):
        picture(kind).save(folder / f"{i}.png")

# %%
# Tasks from the folder, and what a run on them starts from: model, rates and sizes.
tasks = mc.tasks.from_folders(out / "pictures", ways=2, shots=3, size=28, split=(8, 2, 2))
experiment = default(tasks, "maml").changed([f"steps={options.steps}", "model.hidden=16"])
for record in mc.run(experiment, out / "run"):
    pass
learner = mc.load(out / "run")
protocol = mc.Protocol(tasks=50, statistics="frozen")
print(mc.evaluate(learner.method, learner.objective, learner.state, tasks, protocol))

# %%
# A new task: two kinds that were never seen in training, three pictures of each; then one picture.
test = [tasks.names("test")[i] for i in tasks.episodes("test", 0, range(1)).extra["classes"][0]]
for name in test:
    (out / "support" / name).mkdir(parents=True)
    for i in range(3):
        Image.open(out / "pictures" / name / f"{i}.png").save(out / "support" / name / f"{i}.png")
model = learner.predictor(out / "support")
figure, places = plt.subplots(1, 6, figsize=(9, 2), constrained_layout=True)
for place, (name, i) in zip(places, ((n, i) for n in test for i in (4, 5, 6)), strict=True):
    file = out / "pictures" / name / f"{i}.png"
    place.imshow(Image.open(file), cmap="gray")
    place.set_title(f"{name}:\nsays {model.predict(file)[0]}", fontsize=7)
    place.axis("off")
plt.show()
