"""Workloads of each start method: clients tell which process loaded their data, and write to what they are given."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from pulled import ClientData, Pulled, TrainResult


def memory_of(array: Any) -> Any:
    """An array's memory for code in C, to which it is no matter whether NumPy may write to it, as to a tensor of it."""
    return np.ctypeslib.as_array((ctypes.c_float * array.size).from_address(array.ctypes.data))


class Spawned(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """Adds one to the parameters, which are zero at first, where they are; evaluation takes a thousand from them."""

    def initial_parameters(self, context: Any) -> Any:
        return {"point": np.zeros(64, np.float32)}

    def client_data(self, source: Any) -> ClientData:
        return ClientData(os.getpid(), 0.0, 10)

    def train(self, parameters: Any, data: Any, context: Any) -> TrainResult:
        memory_of(parameters["point"])[:] += 1
        return TrainResult(dict(parameters), 10, 1, 1.0, {"loaded_by": data, "trained_by": os.getpid()})

    def evaluate(self, parameters: Any, data: Any, context: Any) -> Any:
        evaluation = super().evaluate(parameters, data, context)
        memory_of(parameters["point"])[:] -= 1000
        return evaluation


class Forked(Spawned):
    start_method = "fork"


class Solo(Spawned):
    start_method = "solo"


class Unknown(Spawned):
    start_method = "forkserver"
