"""Write scikit-learn's breast tumours as tables: of three hospitals, and of what the orchestrator holds out."""

import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

data = load_breast_cancer()
names = [name.replace(" ", "_") for name in data.feature_names[:10]]
rng = np.random.default_rng(0)
rows = [["hospital", "side", *names, "diagnosis"]]
for measured, target in zip(data.data[:, :10], data.target, strict=True):
    hospital = rng.choice(["Lyon", "Oslo", "Porto"], p=[0.5, 0.3, 0.2])
    cells = ["" if hospital == "Oslo" and rng.random() < 0.1 else value for value in measured]
    side = rng.choice(["left", "right"] if hospital != "Porto" else ["left", "right", "both"])
    rows.append([hospital, side, *cells, data.target_names[target]])

folder = Path("study")
folder.mkdir(exist_ok=True)
for name, some in (("tumours.csv", rows[:400]), ("held-out.csv", [rows[0], *rows[400:]])):
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(some)
