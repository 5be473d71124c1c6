"""Workloads of each start method: clients tell which process loaded their data, and write to what they are given."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from pulled import ClientData, Pulled, TrainResult


class Spawned(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """Adds one to the parameters, which are zero at first, where they are; evaluation takes a thousand from them."""

    def initial_parameters(self, context: Any) -> Any:
        return {"point": np.zeros(64, np.float32)}

    def client_data(self, source: Any) -> ClientData:
        return ClientData(os.getpid(), 0.0, 10)

    def train(self, parameters: Any, data: Any, context: Any) -> TrainResult:
        torch.from_numpy(parameters["point"]).add_(1)
        return TrainResult(dict(parameters), 10, 1, 1.0, {"loaded_by": data, "trained_by": os.getpid()})

    def evaluate(self, parameters: Any, data: Any, context: Any) -> Any:
        evaluation = super().evaluate(parameters, data, context)
        torch.from_numpy(parameters["point"]).sub_(1000)
        return evaluation


class Forked(Spawned):
    start_method = "fork"


class Solo(Spawned):
    start_method = "solo"


class Unknown(Spawned):
    start_method = "forkserver"
