"""Sensors in a table: from a file to an exported model
====================================================

Each sensor of a network reads a little wrongly, in its own way. From a table of calibrated sensors
the model learns how sensors differ; a new one is calibrated with six reference values. The script
goes the whole way: table, train, evaluate, adapt, predict, export.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import metaccord as mc
from metaccord.defaults import default

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=250)
parser.add_argument("--out", type=Path, help="default: a temporary folder")
options = parser.parse_args()
out = options.out or Path(tempfile.mkdtemp())
out.mkdir(parents=True, exist_ok=True)

# %%
# Stand-ins for your data: 60 sensors, 30 readings each. Gain and offset are the sensor's own.
draw = np.random.default_rng(0)


def readings(sensor: int, rows: int = 30) -> pd.DataFrame:
    """Return what a sensor read, beside the true value."""
    gain, offset = 1 + 0.3 * np.sin(7 * sensor), 5 * np.cos(3 * sensor)
    raw, celsius = draw.uniform(0, 100, rows), draw.uniform(-10, 35, rows)
    true = gain * raw + offset + 0.2 * celsius + draw.normal(0, 0.5, rows)
    columns = {"sensor": f"s{sensor:02}", "raw": raw, "celsius": celsius, "reference": true}
    return pd.DataFrame(columns).round(2)


pd.concat([readings(i) for i in range(60)]).to_csv(out / "sensors.csv", index=False)

# %%
# One line makes tasks of the table: one for each sensor. No sensor is in two splits.
tasks = mc.tasks.from_table(out / "sensors.csv", target="reference", group="sensor", shots=6)
print(tasks.coding.describe())

# %%
# Train into a folder, and evaluate on sensors that were never seen.
experiment = default(tasks, "maml").changed([f"steps={options.steps}"])
for record in mc.run(experiment, out / "run"):
    pass
learner = mc.load(out / "run")
print(mc.evaluate(learner.method, learner.objective, learner.state, tasks))

# %%
# A new sensor: adapt to six reference values, predict the rest in the units of the table.
new = readings(99, 60)
new[:6].to_csv(out / "references.csv", index=False)
new[6:].drop(columns="reference").to_csv(out / "unknown.csv", index=False)
model = learner.predictor(out / "references.csv")
model.save(out / "model")
values = mc.deploy.load(out / "model").predict(out / "unknown.csv")[:, 0]
true = torch.tensor(new["reference"].to_numpy()[6:])
error = (values - true).abs().mean()
print(f"mean error {error:.2f}; as read: {(new['raw'] - new['reference'])[6:].abs().mean():.2f}")

# %%
# Export: the file answers without this library.
mc.deploy.export(model, out / "model.pt2")
given = model.coded(out / "unknown.csv").inputs
again = torch.export.load(out / "model.pt2").module()(given)
assert torch.allclose(again[:, 0], values.to(again), atol=1e-4)
plt.figure(figsize=(4, 4), constrained_layout=True)
plt.plot(true, new["raw"][6:], ".", label="as read", color="0.6")
plt.plot(true, values, ".", label="after six references")
plt.axline((50, 50), slope=1, color="k", linewidth=0.8)
plt.legend()
plt.show()
