"""A workload for tests: each client pulls the model to a point of its own, as slowly as the environment says.

``STEP_S`` is the length of a step in seconds; ``STEP_S_<client id>`` that of one client's. ``STUCK`` names a file: who
finds it removes it and spends a minute or more in one call to C. ``HELD`` names another: as long as it is there, nobody
takes a step, and beside it each process that waits has a file. ``MODEL_ELEMENTS`` is the number of float32 elements of
the model. ``INITIAL_S`` is how long it takes to make it, ``LOSS_S`` to evaluate it. ``LOSS_HELD`` names a file, too: as
long as it is there no evaluation ends, and beside it is written which process is at one.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.seeds import generator
from tasks.workload import ClientData, DataSource, TrainResult, Workload


class Pulled(Workload):
    """Parameters: one array ``point``; a client's point is its part's number, from 1."""

    def initial_parameters(self, context: Context) -> Arrays:
        time.sleep(float(os.environ.get("INITIAL_S") or 0))
        size = int(os.environ.get("MODEL_ELEMENTS", "10"))
        return {"point": generator(context.seed, "point").random(size, dtype=np.float32)}

    def client_data(self, source: DataSource) -> ClientData:
        number = source.part.index + 1
        return ClientData(train=float(number), test=float(number), num_train=10 * number)

    def holdout_data(self, folder: Path | None) -> float:
        return 0.0

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        point = parameters["point"].copy()
        noise = generator(context.seed, "noise")
        step_s = float(os.environ.get(f"STEP_S_{os.environ.get('CLIENT_ID', '')}") or os.environ.get("STEP_S") or 0)
        stuck = os.environ.get("STUCK", "")
        if Path(stuck).is_file():
            Path(stuck).unlink()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
        held = Path(os.environ.get("HELD", ""))
        if held.is_file():
            held.with_suffix(f".{os.getpid()}").touch()
        while held.is_file() and not context.budget.is_over():
            time.sleep(0.01)
        steps = 0
        while steps < context.options.epochs and not context.budget.is_over():
            time.sleep(step_s)
            point += np.float32(context.options.learning_rate) * (np.float32(data) - point)
            point += np.float32(1e-3 * noise.random())
            steps += 1
        return TrainResult({"point": point}, int(10 * data), steps, float(steps))

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        time.sleep(float(os.environ.get("LOSS_S") or 0))
        held = Path(os.environ.get("LOSS_HELD", ""))
        if held.is_file():
            held.with_suffix(".pid").write_text(str(os.getpid()))
        while held.is_file():
            time.sleep(0.01)
        loss = float(np.mean((parameters["point"] - np.float32(data)) ** 2))
        return Evaluation(loss, 10, {"accuracy": 1.0})


class Broken(Pulled):
    """A workload that can't be made."""

    def __init__(self) -> None:
        raise RuntimeError("no such thing")
